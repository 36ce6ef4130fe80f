//! A DNS server on this machine, over UDP and TCP, whose records a test changes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};

/// A record.
#[derive(Clone)]
pub(crate) enum Record {
    Address(IpAddr),
    Service(u16, String),
}

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Record::Address(IpAddr::V4(_)) => 1,
            Record::Address(IpAddr::V6(_)) => 28,
            Record::Service(..) => 33,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Record::Address(IpAddr::V4(address)) => address.octets().to_vec(),
            Record::Address(IpAddr::V6(address)) => address.octets().to_vec(),
            Record::Service(port, target) => {
                let labels = target.split('.').filter(|label| !label.is_empty());
                let name = labels.flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
                let priority_and_weight = [0, 10, 0, 5];
                priority_and_weight.into_iter().chain(port.to_be_bytes()).chain(name).chain([0]).collect()
            }
        }
    }
}

/// The records by name. A name without records does not exist.
type Records = Arc<Mutex<BTreeMap<String, Vec<Record>>>>;

/// A DNS server. Its threads end with the test.
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    records: Records,
}

/// Maximum size of an answer over UDP; a longer one is asked for again over TCP.
const MAX_DATAGRAM: usize = 1200;

impl DnsServer {
    pub(crate) fn start() -> Self {
        let records = Records::default();
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
            // The same port of TCP may be taken.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("its address")) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("its address");
        let of_udp = Arc::clone(&records);
        std::thread::spawn(move || {
            let mut question = [0; 1500];
            while let Ok((length, peer)) = udp.recv_from(&mut question) {
                let mut answer = answer(&question[..length], &of_udp);
                if answer.len() > MAX_DATAGRAM {
                    answer = truncated(&question[..length]);
                }
                let _ = udp.send_to(&answer, peer);
            }
        });
        let of_tcp = Arc::clone(&records);
        std::thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                // It reads until the other side closes the connection.
                let records = Arc::clone(&of_tcp);
                std::thread::spawn(move || serve(stream, &records));
            }
        });
        Self { address, records }
    }

    /// Sets the records of a name; none, and the name does not exist.
    pub(crate) fn set(&self, name: &str, records: Vec<Record>) {
        let mut all = self.records.lock().expect("no thread panics");
        if records.is_empty() {
            all.remove(name);
        } else {
            all.insert(name.to_owned(), records);
        }
    }
}

fn serve(mut stream: TcpStream, records: &Records) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let answer = answer(&question, records);
        let length = u16::try_from(answer.len()).expect("a message has at most 64 KiB").to_be_bytes();
        stream.write_all(&[&length[..], &answer].concat())?;
    }
}

/// The name and the kind of record that is asked for, and the end of the question.
fn asked(question: &[u8]) -> (String, u16, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] > 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), u16::from_be_bytes([question[at + 1], question[at + 2]]), at + 5)
}

fn answer(question: &[u8], records: &Records) -> Vec<u8> {
    let (name, kind, end) = asked(question);
    let all = records.lock().expect("no thread panics");
    let known = all.get(&name);
    let records: Vec<_> = known.into_iter().flatten().filter(|record| record.kind() == kind).collect();
    let mut answer = head(question, false, if known.is_some() { 0 } else { 3 }, records.len() as u16);
    answer.extend_from_slice(&question[12..end]);
    for record in records {
        let data = record.data();
        // The name of the question, class IN, for a minute.
        answer.extend_from_slice(&[0xc0, 12]);
        answer.extend_from_slice(&kind.to_be_bytes());
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
        answer.extend_from_slice(&data);
    }
    answer
}

fn truncated(question: &[u8]) -> Vec<u8> {
    let (_, _, end) = asked(question);
    [head(question, true, 0, 0), question[12..end].to_vec()].concat()
}

fn head(question: &[u8], is_truncated: bool, code: u8, answers: u16) -> Vec<u8> {
    let flags = [0x81 | if is_truncated { 2 } else { 0 }, 0x80 | code];
    let [high, low] = answers.to_be_bytes();
    [&question[..2], &flags, &[0, 1, high, low, 0, 0, 0, 0]].concat()
}
