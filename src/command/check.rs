//! `check`: connects, reports what works and what is missing, and prints the ACL line for this version of the server.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::{Exit, print, small_runtime};
use crate::cli::CheckArgs;
use crate::client_list::Field;
use crate::config::CheckConfig;
use crate::discovery::{self, SWITCH_CHANNEL, Target, TargetKind};
use crate::failure::{Failure, Reason};
use crate::latest::{run_id, same_server_warning, same_servers};
use crate::link::{Command, Link, Node, Request, ServerKind, Subscription};
use crate::machine::Machine;
use crate::sample::{OUR_NAME, Sample};
use crate::sampler::{ListMethod, Plan, Sampler};
use crate::server_info::{Product, ServerInfo};
use crate::snapshot::{By, Grouping, Limits, Snapshot, derive};
use crate::status::{MAX_MESSAGE, SCHEMA};
use crate::text::escaped;
use crate::view::humanize::clock_difference;
use crate::view::row::rows;

pub(super) fn run(args: &CheckArgs) -> Result<Exit> {
    let config = CheckConfig::new(args)?;
    let runtime = small_runtime()?;
    let (mut worst, mut runs) = (Exit::Success, Vec::new());
    let machine = Machine::read();
    let (nodes, failures) = runtime.block_on(discovery::once(&config.targets, &config.discovery, &machine));
    for note in &config.notes {
        print(&format!("  warning  {note}\n"))?;
    }
    for target in config.targets.iter().filter(|target| target.node().is_none()) {
        let failure = failures.iter().find(|(failed, _)| *failed == target.name).map(|(_, failure)| failure);
        print(&discovered(target, failure, &nodes))?;
        worst = if failure.is_some() { worst.max(Exit::Unreachable) } else { worst };
    }
    for node in nodes {
        let report = runtime.block_on(check(&node, &config));
        print(&report.text)?;
        worst = worst.max(report.exit);
        runs.extend(report.run_id.map(|run_id| (run_id, node.name)));
    }
    for names in same_servers(runs.iter().map(|(run_id, name)| (&**run_id, &**name))) {
        print(&format!("  warning  {}\n", same_server_warning(&names)))?;
    }
    Ok(worst)
}

/// The report about the discovery of a target.
fn discovered(target: &Target, failure: Option<&Failure>, nodes: &[Node]) -> String {
    let mut text = match failure {
        Some(failure) => format!("{target}\n  failed   discovery: {failure}\n"),
        None => {
            let count = nodes.iter().filter(|node| node.origin.target == target.name).count();
            format!("{target}\n  ok       discovery: {count} nodes\n")
        }
    };
    if let TargetKind::Sentinel { .. } = target.kind {
        // Without the commands that name our connection after version 6: their rules depend on the version.
        let rules = [Command::ClientId, Command::ClientSetName, Command::Subscribe];
        let asked = Command::ALL.into_iter().filter(|command| command.servers() == ServerKind::Sentinel);
        let rules: Vec<_> = rules.into_iter().chain(asked).map(Command::acl_rule).collect();
        let rules = rules.join(" ");
        let line =
            format!("ACL SETUSER {OUR_NAME} on >PASSWORD resetkeys resetchannels &{SWITCH_CHANNEL} -@all {rules}");
        let what = "on the sentinels (6.2 and later), a user with exactly the required permissions";
        text.push_str(&format!("  ACL      {what}:\n           {line}\n"));
    }
    text + "\n"
}

/// The report about one server.
struct Report {
    text: String,
    exit: Exit,
    run_id: Option<String>,
}

async fn check(node: &Node, config: &CheckConfig) -> Report {
    let mut sampler = Sampler::new(node.clone(), config.budget);
    let sampled = sampler.sample().await;
    let mut report = Report { text: String::new(), exit: Exit::Success, run_id: None };
    let warning = node.name_warning();
    let (sample, link) = match (&sampled, sampler.link()) {
        (Ok(sample), Some(link)) => (sample, link),
        (Err(failure), _) => {
            report.line(&format!("{}\n  failed   {failure}", node.name));
            report.exit = Exit::Unreachable;
            report.warn(warning);
            report.acl(None, &[], &config.channel);
            return report;
        }
        (Ok(_), None) => unreachable!("a sample that succeeded leaves its link"),
    };
    report.run_id = run_id(sample).map(str::to_owned);
    report.line(&title(node, sample.info.as_ref().ok()));
    let logged_in = if node.address.credentials.is_some() { " and logged in" } else { "" };
    let endpoint = node.address.endpoint.to_string();
    let at = if endpoint == *node.name { String::new() } else { format!(" to {endpoint}") };
    report.line(&format!("  ok       connected{at}{logged_in}"));
    report.warn(warning);
    report.info(sample);
    report.clock(sample);
    report.listing(sample);
    report.plan(&sampler, sample);
    report.groups(sample, &config.grouping);
    let unknown = unknown_commands(link, sample.info.as_ref().ok());
    report.naming(link, &unknown);
    report.channel(node, sample.info.as_ref().ok(), &config.channel).await;
    report.acl(sample.info.as_ref().ok(), &unknown, &config.channel);
    report
}

impl Report {
    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("writing to a string cannot fail");
    }

    /// A warning, which does not change the exit code.
    fn warn(&mut self, warning: Option<String>) {
        if let Some(warning) = warning {
            self.line(&format!("  warning  {warning}"));
        }
    }

    fn missing(&mut self, what: &str, failure: &Failure, exit: Exit) {
        self.line(&format!("  missing  {what}: {failure}"));
        self.exit = self.exit.max(exit);
    }

    fn info(&mut self, sample: &Sample) {
        match &sample.info {
            Ok(info) if info.refused.is_empty() => self.line("  ok       INFO"),
            Ok(info) => {
                let fields: Vec<_> = info.refused.iter().copied().collect();
                self.line(&format!("  ok       INFO, without values that cannot be true: {}", fields.join(", ")));
            }
            Err(failure) => self.missing("INFO (limits, counters, version)", failure, Exit::Incomplete),
        }
    }

    /// The difference between the clocks, if it is worth a line. It is no fault: no time depends on the server's clock.
    fn clock(&mut self, sample: &Sample) {
        if let Some(difference) = sample.clock_difference.and_then(clock_difference) {
            self.line(&format!(
                "  note     the server's clock is {difference}; times are shown by the clock of this machine"
            ));
        }
    }

    fn listing(&mut self, sample: &Sample) {
        match &sample.clients {
            Ok(pages) => {
                let (clients, unreadable) = (pages.len(), sample.unreadable.total());
                self.line(&format!("  ok       CLIENT LIST: {clients} clients, {unreadable} unreadable lines"));
                for condition in sample.conditions.iter() {
                    self.line(&format!("  limited  {}: {}", condition.label(), condition.sentence()));
                    if condition.is_incomplete() {
                        self.exit = self.exit.max(Exit::Incomplete);
                    }
                }
            }
            Err(failure) => self.missing("CLIENT LIST (everything about clients)", failure, Exit::Unreachable),
        }
    }

    /// The plan for listing the clients, and the costs on which it is based.
    fn plan(&mut self, sampler: &Sampler, sample: &Sample) {
        let Ok(pages) = &sample.clients else { return };
        if let Some(failure) = sampler.no_pages() {
            self.line(&format!("  limited  clients cannot be listed in pages: {failure}"));
        }
        let (plan, costs) = (sampler.plan(), sampler.costs());
        let page = costs.page();
        let budget = if plan.within_budget {
            "within the budget"
        } else {
            "exceeds the budget; raise --sample.max-stall, --sample.max-load or --sample.max-age"
        };
        self.line(&format!("  plan     {}: {budget}", described(&plan, pages.len())));
        self.line(&format!(
            "           longest command {}, {} per sample, {:.2} % of the server's main-thread time in total",
            time(plan.longest_command),
            time(plan.server_time),
            plan.load * 100.0
        ));
        self.line(&format!(
            "           {}: {:.0} µs per page and {:.2} µs per id; a full listing about {}",
            if costs.is_page_cost_measured() { "measured" } else { "assumed, too few clients to measure" },
            page.fixed_micros,
            page.id_micros,
            time(Duration::from_secs_f64(costs.full_listing_micros(pages.len() as f64) / 1e6))
        ));
    }

    /// The largest applications, each with one of its clients and the reason for its grouping.
    fn groups(&mut self, sample: &Sample, grouping: &Grouping) {
        let snapshot = derive(None, Arc::new(sample.clone()), &Limits::rows_only());
        let groups = grouped(&snapshot, grouping);
        self.line(&format!("  groups   {} applications{}", groups.len(), if groups.is_empty() { "" } else { ":" }));
        for group in groups.iter().take(GROUPS_SHOWN) {
            let AppExample { app, connections, example, by } = group;
            self.line(&format!("           {connections:>6}  {app}  ({example}: {by})"));
        }
        if groups.len() > GROUPS_SHOWN {
            self.line(&format!(
                "           … and {} more; list them with: redis-client-exporter clients --by app",
                groups.len() - GROUPS_SHOWN
            ));
        }
    }

    fn naming(&mut self, link: &Link, unknown: &[Command]) {
        let naming = [
            (Command::ClientId, "to exclude our own connection from the counts"),
            (Command::ClientSetName, "to name our connection"),
            (Command::ClientSetInfoName, "to set our library name and version"),
        ];
        for (command, purpose) in naming {
            match link.refused.iter().find(|(refused, _)| *refused == command) {
                None => self.line(&format!("  ok       {command}")),
                Some(_) if unknown.contains(&command) => {
                    self.line(&format!("  skipped  {command} ({purpose}): this server does not have it; not required"));
                }
                Some((_, failure)) => self.missing(&format!("{command} ({purpose})"), failure, Exit::Incomplete),
            }
        }
    }

    /// Checks whether statuses can be announced and received. The test message has our format, and a kind that
    /// receivers ignore.
    async fn channel(&mut self, node: &Node, info: Option<&ServerInfo>, channel: &str) {
        if info.is_some_and(ServerInfo::is_sentinel) {
            self.line(&format!("  skipped  PUBLISH {channel}: a Sentinel has no channel for statuses"));
            return;
        }
        let message = format!("{{\"schema\":\"{SCHEMA}\",\"kind\":\"check\"}}");
        let published = match Link::dial(node).await {
            Ok(mut link) => match link.send(&[Request::publish(channel, message.as_bytes())]).await {
                Ok(replies) => replies.into_iter().collect::<Result<Vec<_>, _>>().map(drop),
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        let subscribed = Subscription::open(node, channel, MAX_MESSAGE).await.map(drop);
        for (what, result) in [("PUBLISH", published), ("SUBSCRIBE", subscribed)] {
            match result {
                Ok(()) => self.line(&format!("  ok       {what} {channel}")),
                Err(failure) => {
                    let what = format!("{what} {channel} (to announce; not needed with --announce never)");
                    self.missing(&what, &failure, Exit::Incomplete);
                }
            }
        }
    }

    /// The line that creates a user with exactly the required permissions. The accepted rules depend on the server's
    /// version: 7.0 refuses unknown subcommands, and channel rules exist since 6.2.
    fn acl(&mut self, info: Option<&ServerInfo>, unknown: &[Command], channel: &str) {
        let version = info.and_then(|info| Some((info.product, parsed_version(info.version.as_deref()?)?)));
        let (channels, note) = match version {
            Some((Product::Redis, version)) if version < (6, 0) => {
                self.line("  ACL      this server has no ACL (ACLs exist since 6.0)\n");
                return;
            }
            Some((Product::Kvrocks, _)) => {
                self.line("  ACL      this server has no ACL\n");
                return;
            }
            Some((Product::Redis, version)) if version < (6, 2) => (String::new(), ""),
            Some(_) => (format!(" resetchannels &{channel}"), ""),
            None => (
                format!(" resetchannels &{channel}"),
                " (for Redis 6.2 and later, or Valkey; this server's version is unknown)",
            ),
        };
        let rules: Vec<_> = Command::ALL
            .iter()
            .filter(|command| !unknown.contains(command))
            .filter(|command| match command.servers() {
                ServerKind::Any => true,
                ServerKind::Cluster => info.is_some_and(ServerInfo::is_cluster),
                ServerKind::Sentinel => info.is_some_and(ServerInfo::is_sentinel),
                ServerKind::Data => !info.is_some_and(ServerInfo::is_sentinel),
            })
            .map(|command| command.acl_rule())
            .collect();
        let is_sentinel = info.is_some_and(ServerInfo::is_sentinel);
        let events = if is_sentinel { format!(" &{SWITCH_CHANNEL}") } else { String::new() };
        let mut line = format!("ACL SETUSER {OUR_NAME} on >PASSWORD resetkeys{channels}{events} -@all");
        for rule in distinct(&rules) {
            write!(line, " {rule}").expect("writing to a string cannot fail");
        }
        self.line(&format!("  ACL      a user with exactly the required permissions{note}:\n           {line}\n"));
    }
}

/// Maximum number of applications in the report.
const GROUPS_SHOWN: usize = 12;

/// An application, with one of its clients as an example.
struct AppExample {
    app: Arc<str>,
    connections: u64,
    example: String,
    by: String,
}

/// The applications of a server, largest first.
fn grouped(snapshot: &Snapshot, grouping: &Grouping) -> Vec<AppExample> {
    let mut groups: HashMap<Arc<str>, AppExample> = HashMap::new();
    for row in rows("", snapshot).filter(|row| row.app.is_some()) {
        let app = grouping.app(row.client);
        let group = groups.entry(Arc::clone(&app)).or_insert_with(|| {
            let example = match row.text(Field::Name).filter(|name| !name.is_empty()) {
                Some(name) => format!("such as {}", escaped(name)),
                None => "without a name".to_owned(),
            };
            AppExample { app, connections: 0, example, by: reason(grouping.by(row.client)) }
        });
        group.connections += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_unstable_by(|one, other| other.connections.cmp(&one.connections).then_with(|| one.app.cmp(&other.app)));
    groups
}

fn reason(by: By) -> String {
    match by {
        By::FileRule(place) => format!("by rule {place} of --group.file"),
        By::Name(cuts) if cuts.is_empty() => "by its name".to_owned(),
        By::Name(cuts) => format!("by its name without {}", cuts.join(", ")),
        By::Pattern => "by --group.name-pattern".to_owned(),
        By::User => "by its user".to_owned(),
        By::Library => "by its library".to_owned(),
        By::Driver => "by the driver that its library names".to_owned(),
        By::LibraryHost => "by its library and host".to_owned(),
        By::Host => "by its host".to_owned(),
        By::Nothing => "it has no name, user or library".to_owned(),
    }
}

fn distinct<'a>(rules: &[&'a str]) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for rule in rules {
        if !seen.contains(rule) {
            seen.push(*rule);
        }
    }
    seen
}

fn title(node: &Node, info: Option<&ServerInfo>) -> String {
    let Some(info) = info else { return node.name.to_string() };
    let text = |field: Option<&str>| field.map_or("?".into(), |text| escaped(text.as_bytes()));
    let (version, mode) = (text(info.version.as_deref()), text(info.mode.as_deref()));
    // The mode of a Sentinel is its role.
    let role = if info.is_sentinel() { String::new() } else { format!(", {}", text(info.role.as_deref())) };
    format!("{} ({} {version}, {mode}{role})", node.name, info.product.name())
}

/// The refused commands that this server does not have. 6.x answers NOPERM before it checks whether a subcommand
/// exists, so for it the version decides. An ACL line with an unknown subcommand is refused as a whole, so a subcommand
/// is left out if the version is unknown.
fn unknown_commands(link: &Link, info: Option<&ServerInfo>) -> Vec<Command> {
    let version = info.and_then(|info| parsed_version(info.version.as_deref()?));
    let before_setinfo = version.is_none_or(|version| version < (7, 2));
    let is_unknown = |command: Command, failure: &Failure| {
        let setinfo = matches!(command, Command::ClientSetInfoName | Command::ClientSetInfoVersion);
        failure.reason == Reason::UnknownCommand || (setinfo && before_setinfo)
    };
    let refused = link.refused.iter().filter(|(command, failure)| is_unknown(*command, failure));
    refused.map(|(command, _)| *command).collect()
}

fn parsed_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn described(plan: &Plan, clients: usize) -> String {
    let every = plan.interval.as_secs_f64();
    match plan.method {
        ListMethod::Full => format!("one full listing every {every:.0} s"),
        ListMethod::Pages(ids) => format!("{} pages of {ids} clients every {every:.0} s", clients.div_ceil(ids)),
    }
}

fn time(time: Duration) -> String {
    match time.as_micros() {
        micros if micros < 1000 => format!("{micros} µs"),
        micros => format!("{:.1} ms", micros as f64 / 1000.0),
    }
}
