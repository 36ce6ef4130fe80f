//! Asks several servers the same question. One that does not answer delays no other.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, Reason};
use crate::link::Node;

/// Maximum number of servers that are asked at the same time, so that those that do not answer delay little.
const CONCURRENT: usize = 6;

/// The time for which further answers are waited for after the first one. A server that drops all packets would
/// otherwise delay every discovery by the time-out.
const GRACE: Duration = Duration::from_secs(2);

/// Asks servers, in this order, until `enough` of them have answered, or no further one answers soon.
///
/// # Errors
/// None has answered: the first failure that tells more than that a server cannot be reached, otherwise the first one.
pub(super) async fn gather<'a, T, F: Future<Output = Result<T, Failure>>>(
    nodes: &'a [Node],
    enough: usize,
    ask: impl Fn(&'a Node) -> F,
) -> Result<Vec<T>, Failure> {
    let mut waiting = nodes.iter();
    let mut asked: FuturesUnordered<_> = waiting.by_ref().take(CONCURRENT).map(&ask).collect();
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    let mut end = None;
    while let Some(answer) = within(end, asked.next()).await {
        match answer {
            Ok(answer) => {
                answers.push(answer);
                if answers.len() == enough {
                    break;
                }
                end = end.or_else(|| Some(Instant::now() + GRACE));
            }
            Err(failure) => {
                failures.push(failure);
                asked.extend(waiting.next().map(&ask));
            }
        }
    }
    if !answers.is_empty() {
        return Ok(answers);
    }
    let place = failures.iter().position(|failure| !is_unreachable(failure.reason)).unwrap_or_default();
    Err(failures.into_iter().nth(place).unwrap_or_else(no_server))
}

/// Waits until a time, if there is one.
async fn within<T>(end: Option<Instant>, next: impl Future<Output = Option<T>>) -> Option<T> {
    match end {
        Some(end) => timeout_at(end, next).await.ok().flatten(),
        None => next.await,
    }
}

fn is_unreachable(reason: Reason) -> bool {
    matches!(reason, Reason::Resolve | Reason::Connect | Reason::Timeout | Reason::Closed)
}

/// The failure if there is no server to ask.
pub(super) fn no_server() -> Failure {
    Failure { reason: Reason::Other, message: "there is no server to ask".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{NodeAddress, TlsOptions, parse_address};

    fn nodes(count: u16) -> Vec<Node> {
        let node = |port: u16| {
            let endpoint = parse_address(&format!("10.0.0.1:{port}")).expect("an address").endpoint;
            Node::from(NodeAddress { endpoint, credentials: None, tls: TlsOptions::default(), timeout: GRACE })
        };
        (1..=count).map(node).collect()
    }

    fn failed(reason: Reason) -> Result<u16, Failure> {
        Err(Failure { reason, message: format!("{reason:?}") })
    }

    fn number(node: &Node) -> u16 {
        node.name.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
    }

    #[tokio::test(start_paused = true)]
    async fn servers_that_drop_packets_delay_no_answer_for_long() {
        let all = nodes(9);
        // The first five never answer, two refuse, and those that are asked in their place answer.
        let answers = gather(&all, 5, |node| async move {
            match number(node) {
                1..=5 => std::future::pending().await,
                6 | 7 => failed(Reason::Connect),
                number => Ok(number),
            }
        });
        assert_eq!(answers.await.expect("an answer"), [8]);
    }

    #[tokio::test]
    async fn no_more_are_asked_than_needed() {
        let all = nodes(9);
        let answers = gather(&all, 2, |node| async move { Ok(number(node)) }).await;
        assert_eq!(answers.expect("answers").len(), 2);
        let failure = gather(&[], 2, |node| async move { Ok(number(node)) }).await.expect_err("no server");
        assert_eq!(failure.message, "there is no server to ask");
    }

    #[tokio::test]
    async fn the_failure_is_the_one_that_tells_most() {
        let all = nodes(3);
        let ask = |node: &Node| {
            let number = number(node);
            async move { failed(if number == 2 { Reason::NoPermission } else { Reason::Connect }) }
        };
        assert_eq!(gather(&all, 2, ask).await.expect_err("failures").reason, Reason::NoPermission);
        assert_eq!(gather(&all[2..], 2, ask).await.expect_err("a failure").reason, Reason::Connect);
    }
}
