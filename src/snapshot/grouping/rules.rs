//! The table of what changes from one process of an application to the next: what is taken off a client's name, so that
//! what stays is the application. Pure.
//!
//! A name is read in parts: `-`, `_` and `.` join words within a part, the other signs divide parts. A rule takes something
//! off the end of a part, where nothing that names the application stands; rules are applied until none has anything to
//! take. What is left has nothing more to take, so an application's own name stays what it is.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// One thing that changes per process.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it takes off.
    pub what: &'static str,
    /// What it looks like. The group `cut` is what is taken off; `<B>` begins it (a sign, or the name's beginning), `<E>` is
    /// the end of the part, and `<P>` is a letter or digit as Kubernetes makes random names of.
    pattern: &'static str,
    /// What else must be true of it: of what stands before, and of what would be taken off.
    only_if: fn(&[u8], &[u8]) -> bool,
    /// A name to which it applies.
    pub example: &'static str,
    /// The application of that name.
    pub app: &'static str,
}

/// Longer and surer patterns first: what they take off would else be taken off in pieces, or in part.
pub const RULES: &[Rule] = &[
    Rule {
        what: "version of StackExchange.Redis, which it adds to the machine's name",
        pattern: r"(?P<cut>\([A-Za-z0-9_.]+-v[0-9][^()]*\))$",
        only_if: always,
        example: "orders-api(SE.Redis-v2.6.122.38350)",
        app: "orders-api",
    },
    Rule {
        what: "UUID",
        pattern: r"(?P<cut><B>[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12})<E>",
        only_if: always,
        example: "notifier-3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        app: "notifier",
    },
    Rule {
        what: "process id that says so",
        pattern: r"(?P<cut><B>(?:pid|PID|Pid)[-_.:=#]?[0-9]+)<E>",
        only_if: always,
        example: "Sidekiq-server-PID-4711",
        app: "Sidekiq-server",
    },
    Rule {
        what: "pod of a Kubernetes Deployment",
        pattern: r"(?P<cut>-<P>{8,10}-<P>{5})<E>",
        only_if: always,
        example: "web-6d4cf56db6-xk2lp",
        app: "web",
    },
    Rule {
        what: "pod of a Kubernetes CronJob",
        pattern: r"(?P<cut>-[0-9]{8,10}-<P>{5})<E>",
        only_if: always,
        example: "report-28394720-zqwrt",
        app: "report",
    },
    Rule {
        what: "pod of a Kubernetes DaemonSet or Job",
        pattern: r"(?P<cut>-<P>{5})<E>",
        only_if: has_letter_after_digit,
        example: "log-shipper-x7k2p",
        app: "log-shipper",
    },
    Rule {
        what: "EC2 host name",
        pattern: r"(?P<cut><B>ip-[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}(?:\.[a-z0-9.-]*)?)<E>",
        only_if: always,
        example: "resque:ip-10-0-3-17.ec2.internal",
        app: "resque",
    },
    Rule {
        what: "EC2 instance id",
        pattern: r"(?P<cut><B>i-[0-9a-f]{8}(?:[0-9a-f]{9})?)<E>",
        only_if: has_digit,
        example: "api-i-0abc12345def67890",
        app: "api",
    },
    Rule {
        what: "random name of a Windows machine",
        pattern: r"^(?:DESKTOP(?P<cut>-[0-9A-Z]{7})|LAPTOP(?P<cut2>-[0-9A-Z]{8})|WIN(?P<cut3>-[0-9A-Z]{11}))<E>",
        only_if: always,
        example: "DESKTOP-4AF8K2L",
        app: "DESKTOP",
    },
    Rule {
        what: "time",
        pattern: r"(?P<cut><B>[0-9]{8}[T_-][0-9]{4,9}Z?)<E>",
        only_if: always,
        example: "backup-20260131T031500Z",
        app: "backup",
    },
    Rule {
        what: "number of a Java thread pool",
        pattern: r"(?:pool|Pool)(?P<cut>-[0-9]+)-(?:thread|worker)",
        only_if: always,
        example: "orders-pool-2-thread-7",
        app: "orders-pool-thread",
    },
    Rule {
        what: "counter",
        pattern: r"(?P<cut><B>[0-9]+|<B>?[\[({][0-9]+[\])}])<E>",
        only_if: not_a_region,
        example: "worker-17",
        app: "worker",
    },
    Rule {
        what: "process id before a name",
        pattern: r"^(?P<cut>[0-9]{3,}\.)[A-Za-z]",
        only_if: always,
        example: "4711.db",
        app: "db",
    },
    Rule {
        what: "hexadecimal id of five characters or more with a digit before a letter",
        pattern: r"(?P<cut><B>(?:0x[0-9a-fA-F]+|[0-9a-fA-F]{5,}))<E>",
        only_if: is_hexadecimal_id,
        example: "redisinsight-cli-bc36ecf0",
        app: "redisinsight-cli",
    },
    Rule {
        what: "random id of small letters and digits",
        pattern: r"(?P<cut><B>[a-z0-9]{8,32})<E>",
        only_if: looks_random,
        example: "ingest.x8k2j3h4g5f6d7s8a9q0w1e2r",
        app: "ingest",
    },
    Rule {
        what: "counter with a leading zero, at the end of a word",
        pattern: r"[A-Za-z](?P<cut>0[0-9]+)<E>",
        only_if: always,
        example: "web01",
        app: "web",
    },
    Rule {
        what: "counter at the end of a word for something of which there are many",
        pattern: r"(?:^|[^A-Za-z])(?i:worker|thread|server|host|instance|replica|consumer|producer|client|process|proc|pod|runner|agent|executor|conn|connection)(?P<cut>[0-9]{1,3})<E>",
        only_if: always,
        example: "mailer-worker3",
        app: "mailer-worker",
    },
];

/// The longest name that is looked at; a longer one stays as it is. No library makes one half as long.
const MAX_NAME: usize = 256;

/// The most that is taken off one name, one thing after another. A name with more of it is made to keep us busy, and stays as it
/// is.
const MAX_CUTS: usize = 12;

/// What begins a thing that changes: a sign, or the beginning of the name.
const BEGIN: &str = r"(?:^|[-_.:@/#|,;~+])";

/// Where a part ends.
const END: &str = r"(?:$|[:@/#|,;\])}])";

/// What random names of Kubernetes are made of (`apimachinery/pkg/util/rand`): neither vowels nor what looks like them.
const POD: &str = "[bcdfghjklmnpqrstvwxz2456789]";

/// Signs that mean nothing any more once what they divided is gone.
const DANGLING: &[u8] = b"-_.:@/#|,;~+";

/// The patterns, compiled.
struct Compiled {
    /// All of them at once: most names match none.
    any: RegexSet,
    each: Vec<Regex>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let patterns: Vec<_> =
        RULES.iter().map(|rule| rule.pattern.replace("<B>", BEGIN).replace("<E>", END).replace("<P>", POD)).collect();
    let sound = "the table's patterns are tested";
    Compiled {
        any: RegexSetBuilder::new(&patterns).unicode(false).build().expect(sound),
        each: patterns.iter().map(|text| RegexBuilder::new(text).unicode(false).build().expect(sound)).collect(),
    }
});

/// Takes off a name all that changes per process. Empty if nothing stays.
pub(super) fn lasting_part(name: &[u8]) -> Vec<u8> {
    taken_off(name).map_or_else(|| name.to_vec(), |(rest, _)| rest)
}

/// What was taken off a name, one rule after another.
pub(super) fn applied(name: &[u8]) -> Vec<&'static str> {
    taken_off(name).map_or_else(Vec::new, |(_, applied)| applied)
}

/// What is left of a name, and what was taken off; `None` for a name that is not looked at.
fn taken_off(name: &[u8]) -> Option<(Vec<u8>, Vec<&'static str>)> {
    if name.len() > MAX_NAME {
        return None;
    }
    let (mut rest, mut applied) = (name.to_vec(), Vec::new());
    while let Some((rule, cut)) = next_cut(&rest) {
        if applied.len() == MAX_CUTS {
            return None;
        }
        applied.push(rule.what);
        take_off(&mut rest, cut);
    }
    Some((rest, applied))
}

fn next_cut(name: &[u8]) -> Option<(&'static Rule, Range<usize>)> {
    let matching = COMPILED.any.matches(name);
    matching.iter().find_map(|place| Some((&RULES[place], cut_by(place, name)?)))
}

/// What one rule takes off. One match may be refused and another, that begins within it, be right.
fn cut_by(place: usize, name: &[u8]) -> Option<Range<usize>> {
    let (rule, pattern, mut from) = (&RULES[place], &COMPILED.each[place], 0);
    while let Some(found) = pattern.captures_at(name, from) {
        let cut = ["cut", "cut2", "cut3"].iter().find_map(|name| found.name(name))?;
        if (rule.only_if)(&name[..cut.start()], cut.as_bytes()) {
            return Some(cut.range());
        }
        from = found.get_match().start() + 1;
    }
    None
}

fn take_off(name: &mut Vec<u8>, cut: Range<usize>) {
    name.drain(cut);
    let end = name.iter().rposition(|byte| !DANGLING.contains(byte)).map_or(0, |last| last + 1);
    name.truncate(end);
    let begin = name.iter().position(|byte| !DANGLING.contains(byte)).unwrap_or(0);
    name.drain(..begin);
}

fn always(_: &[u8], _: &[u8]) -> bool {
    true
}

fn has_digit(_: &[u8], cut: &[u8]) -> bool {
    cut.iter().any(u8::is_ascii_digit)
}

/// Whether a letter follows a digit: in `http2`, `grpc2`, `feed24` none does, and in few ids.
fn has_letter_after_digit(_: &[u8], cut: &[u8]) -> bool {
    let digit = cut.iter().position(u8::is_ascii_digit);
    digit.is_some_and(|digit| cut[digit..].iter().any(u8::is_ascii_alphabetic))
}

/// Whether it is no word that happens to be made of such letters: `face2face`, `key-ed25519`.
fn is_hexadecimal_id(before: &[u8], cut: &[u8]) -> bool {
    let begins = cut.iter().position(u8::is_ascii_alphanumeric).unwrap_or(0);
    let word = &cut[begins..];
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_mixed = has_letter_after_digit(before, word) && (digits >= 2 || word.len() < 8 || word.len() >= 12);
    // No word ends in so large a number.
    word.starts_with(b"0x") || (is_mixed || digits >= 5) && !word.ends_with(b"ed25519")
}

/// A region such as `eu-west-1` ends in a number that counts nothing.
fn not_a_region(before: &[u8], _: &[u8]) -> bool {
    const DIRECTIONS: [&[u8]; 9] =
        [b"north", b"south", b"east", b"west", b"central", b"northeast", b"northwest", b"southeast", b"southwest"];
    const CONTINENTS: [&[u8]; 13] =
        [b"af", b"ap", b"ca", b"cn", b"eu", b"gov", b"il", b"iso", b"me", b"mx", b"sa", b"us", b"usgov"];
    let mut words = before.rsplit(|byte| !byte.is_ascii_alphanumeric());
    let (direction, continent) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    !(DIRECTIONS.contains(&direction) && CONTINENTS.contains(&continent))
}

/// Whether letters and digits change places as they do in no word: four times or more.
fn looks_random(_: &[u8], cut: &[u8]) -> bool {
    let begins = cut.iter().position(u8::is_ascii_alphanumeric).unwrap_or(0);
    let word = &cut[begins..];
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let changes = word.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    digits >= 3 && changes >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_does_what_its_example_says() {
        for rule in RULES {
            assert_eq!(String::from_utf8_lossy(&lasting_part(rule.example.as_bytes())), rule.app, "{}", rule.what);
            assert_eq!(applied(rule.example.as_bytes()).first(), Some(&rule.what), "{}", rule.example);
        }
    }

    #[test]
    fn what_only_looks_like_a_number_stays() {
        for name in [
            "api-v1",
            "api-v2",
            "s3-sync",
            "ec2-sync",
            "rss-feed",
            "orders-read",
            "eu-west-1-cache",
            "cache-eu-west-1",
            "cache-us-gov-east-2",
            "face",
            "decade",
            "cafe",
            "dead-beef",
            "log4j2",
            "sha256",
            "base64",
            "i18n",
            "k8s",
            "web3",
            "oauth2",
            "key-ed25519",
            "x509-https",
            "",
            "(other)",
        ] {
            assert_eq!(String::from_utf8_lossy(&lasting_part(name.as_bytes())), name);
        }
    }

    #[test]
    fn a_name_of_nothing_but_ids_leaves_nothing() {
        for name in ["12345", "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "0a3f9c77d1e2", "10.0.0.5:4711", "-1-2-3"] {
            assert_eq!(lasting_part(name.as_bytes()), b"", "{name}");
        }
    }

    #[test]
    fn a_name_without_end_costs_nothing() {
        let long = "-1".repeat(MAX_NAME);
        assert_eq!(lasting_part(long.as_bytes()), long.as_bytes());
    }
}
