//! Names in DNS: all addresses of a name, or all servers of its SRV records.
//!
//! The operator names them, so they may lead to this machine. Addresses that no server has, such as that of the
//! metadata service of clouds, are refused, as DNS may be forged. No record at all is a failure, which keeps the last
//! nodes for `--discovery.forget-after`: an outage of DNS often looks like it.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::base::name::Name;
use domain::rdata::{A, Aaaa, Srv};
use domain::resolv::StubResolver;
use domain::resolv::resolver::SearchNames;
use domain::resolv::stub::Answer;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};
use tokio::time::timeout;

use super::announced::View;
use super::{DiscoverySettings, DnsName, FoundNode, Topology};
use crate::failure::{Failure, Reason};
use crate::link::Endpoint;
use crate::text::escaped;

/// The servers of a name, by host and port.
type HostPorts = Vec<(String, u16)>;

/// The number of times that a question is asked: a datagram may be lost.
const ATTEMPTS: u32 = 2;

/// Asks DNS for the servers of a name.
///
/// # Errors
/// DNS does not answer in time, or has no record.
pub(super) async fn read(dns: &DnsName, settings: &DiscoverySettings, patience: Duration) -> Result<Topology, Failure> {
    let asked = async {
        match (dns.port, settings.dns_server) {
            (None, server) => services(&resolver(server, patience), &dns.name).await,
            (Some(port), Some(server)) => addresses(&resolver(Some(server), patience), &dns.name, port).await,
            // The system's resolver also knows /etc/hosts.
            (Some(port), None) => system_addresses(&dns.name, port).await,
        }
    };
    let found = match timeout(patience, asked).await {
        Ok(found) => found,
        Err(_) => Err(format!("DNS did not answer within {} s", patience.as_secs_f64())),
    };
    let found = found.map_err(|why| {
        let fix = "check the name in --redis.addr, DNS, and whether a server is ready";
        Failure { reason: Reason::Resolve, message: format!("{dns}: {why}; {fix}") }
    })?;
    // Like a server on this machine, a name may lead to this machine.
    let view = View { asked: "localhost", tls: dns.tls, map: &settings.address_map };
    let mut topology = Topology::default();
    for (host, port) in found {
        let node = FoundNode {
            endpoint: Endpoint::Tcp { host: String::new(), port: 0, tls: dns.tls },
            role: None,
            is_failed: false,
            shard: Default::default(),
            node_id: Default::default(),
            availability_zone: Default::default(),
        };
        view.add(&host, Some(port), node, &mut topology);
    }
    Ok(topology)
}

/// A resolver with the system's settings, perhaps for another server. The file is read each time, as it may change.
fn resolver(server: Option<SocketAddr>, patience: Duration) -> StubResolver {
    let mut settings = ResolvConf::default();
    settings.options.timeout = patience / ATTEMPTS;
    if let Some(server) = server {
        settings.servers = vec![ServerConf::new(server, Transport::UdpTcp)];
    }
    StubResolver::from_conf(settings)
}

async fn system_addresses(name: &str, port: u16) -> Result<HostPorts, String> {
    let found = tokio::net::lookup_host((name, port)).await.map_err(|error| error.to_string())?;
    Ok(found.map(|address| (address.ip().to_string(), port)).collect())
}

/// The addresses of both families. A name may have only one.
async fn addresses(resolver: &StubResolver, name: &str, port: u16) -> Result<HostPorts, String> {
    let (v4, v6) = tokio::join!(query(resolver, name, Rtype::A), query(resolver, name, Rtype::AAAA));
    let (v4, v6) = match (v4, v6) {
        (Err(why), Err(_)) => return Err(why),
        (v4, v6) => (v4.ok(), v6.ok()),
    };
    let mut found = HostPorts::new();
    for records in v4.iter().filter_map(|answer| answer.answer().ok()) {
        found.extend(records.limit_to_in::<A>().flatten().map(|record| (record.data().addr().to_string(), port)));
    }
    for records in v6.iter().filter_map(|answer| answer.answer().ok()) {
        found.extend(records.limit_to_in::<Aaaa>().flatten().map(|record| (record.data().addr().to_string(), port)));
    }
    Ok(found)
}

/// The servers of SRV records. Priority and weight do not matter, as all are watched.
async fn services(resolver: &StubResolver, name: &str) -> Result<HostPorts, String> {
    let answer = query(resolver, name, Rtype::SRV).await?;
    let records = answer.answer().map_err(|error| error.to_string())?;
    // The root as the only target means that there is no such service (RFC 2782).
    let servers = records.limit_to_in::<Srv<_>>().flatten().filter(|record| !record.data().target().is_root());
    let found: HostPorts =
        servers.map(|record| (record.data().target().to_string().to_ascii_lowercase(), record.data().port())).collect();
    if found.is_empty() { Err("its SRV record says that there is no such service".to_owned()) } else { Ok(found) }
}

/// Asks for records, with the suffixes of the system's settings like other programs do (`resolv.conf`, `search`).
async fn query(resolver: &StubResolver, name: &str, records: Rtype) -> Result<Answer, String> {
    let mut last = String::new();
    for name in spellings(name, resolver.options().ndots, resolver.search_iter().map(|suffix| suffix.to_string())) {
        let question = Name::<Vec<u8>>::from_str(&name).map_err(|error| format!("it is no name in DNS ({error})"))?;
        let mut answer = resolver.query((&question, records)).await;
        if answer.is_err() {
            answer = resolver.query((&question, records)).await;
        }
        match answer {
            Ok(answer) if answer.header().rcode() == Rcode::NOERROR && has(&answer, records) => return Ok(answer),
            Ok(answer) if answer.header().rcode() == Rcode::NOERROR => last = format!("DNS has no {records} record"),
            Ok(answer) => last = format!("DNS has no {records} record ({})", answer.header().rcode()),
            Err(error) => last = format!("DNS does not answer ({})", escaped(error.to_string().as_bytes())),
        }
    }
    Err(last)
}

fn has(answer: &Answer, records: Rtype) -> bool {
    answer.answer().is_ok_and(|section| section.flatten().any(|record| record.rtype() == records))
}

/// The names to ask for, in this order: those with enough dots as they are, others first with each suffix.
fn spellings(name: &str, dots: usize, suffixes: impl Iterator<Item = String>) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let suffixes = suffixes.map(|suffix| suffix.trim_matches('.').to_owned()).filter(|suffix| !suffix.is_empty());
    let mut spellings: Vec<_> = suffixes.map(|suffix| format!("{name}.{suffix}")).collect();
    let place = if name.matches('.').count() >= dots { 0 } else { spellings.len() };
    spellings.insert(place, name.to_owned());
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_asked_for_with_suffixes_first() {
        let spell = |name: &str, dots| spellings(name, dots, ["ns.svc.", "svc", "."].iter().map(ToString::to_string));
        assert_eq!(spell("redis", 5), ["redis.ns.svc", "redis.svc", "redis"]);
        assert_eq!(spell("redis.example", 1), ["redis.example", "redis.example.ns.svc", "redis.example.svc"]);
        assert_eq!(spell("redis.example.", 5), ["redis.example."]);
    }
}
