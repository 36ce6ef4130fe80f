//! The table of rules that turn a client's name into its application: they take off everything that changes from one
//! process to the next, and decode what is encoded. Pure.
//!
//! A name is read in parts: `-`, `_` and `.` join words within a part, the other signs divide parts. A rule takes
//! something off the end of a part, never from the middle of a word. Rules are applied until none applies any more,
//! so the name of an application is its own application.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::{bull, host};

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The thing that the rule takes off.
    pub what: &'static str,
    /// Matches what is taken off, as the group `cut`. `<B>` stands for its beginning (a sign, or the beginning of the
    /// name), `<E>` for the end of the part, `<P>` for a letter or digit that Kubernetes makes random names of.
    pattern: &'static str,
    /// A further condition on the text before the cut and on the cut itself.
    only_if: fn(&[u8], &[u8]) -> bool,
    /// The text that replaces the cut, made of the text before it and of the cut.
    replacement: fn(&[u8], &[u8]) -> Vec<u8>,
    /// The rule applies only with `--group.strip-version`.
    pub is_optional: bool,
    /// A name to which the rule applies.
    pub example: &'static str,
    /// The application of that name.
    pub app: &'static str,
}

/// A rule that takes off all that its pattern matches; the base of the others.
const REMOVE: Rule = Rule {
    what: "",
    pattern: "",
    only_if: |_, _| true,
    replacement: |_, _| Vec::new(),
    is_optional: false,
    example: "",
    app: "",
};

/// The rules, in the order in which they are tried. Longer and surer patterns come first; later ones would take off a
/// piece of what they match.
pub const RULES: &[Rule] = &[
    Rule {
        what: "version of StackExchange.Redis, which it adds to the machine's name",
        pattern: r"(?P<cut>\([A-Za-z0-9_.]+-v[0-9][^()]*\))$",
        example: "orders-api(SE.Redis-v2.6.122.38350)",
        app: "orders-api",
        ..REMOVE
    },
    Rule {
        what: "worker name of BullMQ",
        pattern: r"^[^:]+:.*?[^:](?P<cut>:w:.+)$",
        example: "bull:email:w:host-1",
        app: "bull:email",
        ..REMOVE
    },
    Rule {
        what: "base64 encoding of a Bull or BullMQ queue's name",
        pattern: r":(?P<cut>[A-Za-z0-9+/]{2,}={0,2})(?:$|:qe$)",
        only_if: |before, cut| bull::queue_name(before, cut).is_some(),
        replacement: |before, cut| bull::queue_name(before, cut).unwrap_or_default().into_bytes(),
        example: "bull:aW1hZ2UtcmVzaXpl",
        app: "bull:image-resize",
        ..REMOVE
    },
    Rule {
        what: "UUID",
        pattern: r"(?P<cut><B>[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12})<E>",
        example: "notifier-3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        app: "notifier",
        ..REMOVE
    },
    Rule {
        what: "process id marked as PID",
        pattern: r"(?P<cut><B>(?:pid|PID|Pid)[-_.:=#]?[0-9]+)<E>",
        example: "Sidekiq-server-PID-4711",
        app: "Sidekiq-server",
        ..REMOVE
    },
    Rule {
        what: "pod of a Kubernetes Deployment",
        pattern: r"(?P<cut>-<P>{8,10}-<P>{5})<E>",
        example: "web-6d4cf56db6-xk2lp",
        app: "web",
        ..REMOVE
    },
    Rule {
        what: "pod of a Kubernetes CronJob",
        pattern: r"(?P<cut>-[0-9]{8,10}-<P>{5})<E>",
        example: "report-28394720-zqwrt",
        app: "report",
        ..REMOVE
    },
    Rule {
        what: "pod of a Kubernetes DaemonSet or Job",
        pattern: r"(?P<cut>-<P>{5})<E>",
        only_if: has_letter_after_digit,
        example: "log-shipper-x7k2p",
        app: "log-shipper",
        ..REMOVE
    },
    Rule {
        what: "EC2 host name",
        pattern: r"(?P<cut><B>ip-[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}-[0-9]{1,3}(?:\.[a-z0-9.-]*)?)<E>",
        example: "resque:ip-10-0-3-17.ec2.internal",
        app: "resque",
        ..REMOVE
    },
    Rule {
        what: "EC2 instance id",
        pattern: r"(?P<cut><B>i-[0-9a-f]{8}(?:[0-9a-f]{9})?)<E>",
        only_if: has_digit,
        example: "api-i-0abc12345def67890",
        app: "api",
        ..REMOVE
    },
    Rule {
        what: "random name of a Windows machine",
        pattern: r"^(?:DESKTOP(?P<cut>-[0-9A-Z]{7})|LAPTOP(?P<cut2>-[0-9A-Z]{8})|WIN(?P<cut3>-[0-9A-Z]{11}))<E>",
        example: "DESKTOP-4AF8K2L",
        app: "DESKTOP",
        ..REMOVE
    },
    Rule {
        what: "time, to the day or finer",
        pattern: r"(?P<cut><B>(?:<DATE>(?:<CLOCK>)?|<WEEK>|[0-9]{8}[Tt_-][0-9]{4,9}[Zz]?))<E>",
        example: "lambda-2026-11-25T10:00:00Z",
        app: "lambda",
        ..REMOVE
    },
    Rule {
        what: "domain of a numbered host, or of the host behind an @",
        pattern: r"(?:^|[:@/#|,;])[^:@/#|,;.]+(?P<cut>(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}[0-9]*)<E>",
        only_if: host::is_domain,
        example: "node-3.example.com",
        app: "node",
        ..REMOVE
    },
    Rule {
        what: "version (--group.strip-version)",
        pattern: r"(?P<cut>[-_.:@/](?:<VERSION>|sha-?[0-9a-f]{7,40})(?:<PRERELEASE>|<BUILD>)*)<N>",
        only_if: |before, _| before.iter().any(u8::is_ascii_alphanumeric),
        is_optional: true,
        example: "api-v1.4.2-rc.1",
        app: "api",
        ..REMOVE
    },
    Rule {
        what: "number of a Java thread pool",
        pattern: r"(?:pool|Pool)(?P<cut>-[0-9]+)-(?:thread|worker)",
        example: "orders-pool-2-thread-7",
        app: "orders-pool-thread",
        ..REMOVE
    },
    Rule {
        what: "counter",
        pattern: r"(?P<cut><B>[0-9]+|<B>?[\[({][0-9]+[\])}])<E>",
        only_if: not_a_region,
        example: "worker-17",
        app: "worker",
        ..REMOVE
    },
    Rule {
        what: "process id before a name",
        pattern: r"^(?P<cut>[0-9]{3,}\.)[A-Za-z]",
        example: "4711.db",
        app: "db",
        ..REMOVE
    },
    Rule {
        what: "hexadecimal id of five characters or more with a digit before a letter",
        pattern: r"(?P<cut><B>(?:0x[0-9a-fA-F]+|[0-9a-fA-F]{5,}))<E>",
        only_if: is_hexadecimal_id,
        example: "redisinsight-cli-bc36ecf0",
        app: "redisinsight-cli",
        ..REMOVE
    },
    Rule {
        what: "random id of lower-case letters and digits",
        pattern: r"(?P<cut><B>[a-z0-9]{8,32})<E>",
        only_if: looks_random,
        example: "ingest.x8k2j3h4g5f6d7s8a9q0w1e2r",
        app: "ingest",
        ..REMOVE
    },
    Rule {
        what: "counter with a leading zero, at the end of a word",
        pattern: r"[A-Za-z](?P<cut>0[0-9]+)<E>",
        example: "web01",
        app: "web",
        ..REMOVE
    },
    Rule {
        what: "number after a word such as worker, thread or pod",
        pattern: r"(?:^|[^A-Za-z])(?i:<COUNTED>)(?P<cut>[0-9]{1,3})<E>",
        example: "mailer-worker3",
        app: "mailer-worker",
        ..REMOVE
    },
];

/// The longest name to which rules are applied; a longer one is its own application. No library sets one half as long.
const MAX_NAME: usize = 256;

/// The maximum number of cuts. A name that needs more is hostile, and is its own application.
const MAX_CUTS: usize = 12;

/// Abbreviations in patterns.
const ABBREVIATIONS: &[(&str, &str)] = &[
    // The beginning of a thing that changes: a sign, or the beginning of the name.
    ("<B>", r"(?:^|[-_.:@/#|,;~+])"),
    // The end of a part.
    ("<E>", r"(?:$|[:@/#|,;\])}])"),
    // The end of a word.
    ("<N>", r"(?:$|[-_.:@/#|,;~+\])}])"),
    // Letters and digits of random names of Kubernetes (`apimachinery/pkg/util/rand`): no vowels, and none that look
    // alike.
    ("<P>", "[bcdfghjklmnpqrstvwxz2456789]"),
    ("<DATE>", r"(?:19|20)[0-9]{2}[-_./]?(?:0[1-9]|1[0-2])[-_./]?(?:0[1-9]|[12][0-9]|3[01])"),
    ("<CLOCK>", r"[Tt]|[Tt_.:/-]?(?:[01][0-9]|2[0-4])(?:[:.-]?<MIN>(?:[:.-]?<MIN>(?:[.,]?[0-9]{1,9})?)?)?<ZONE>?"),
    ("<MIN>", "[0-6][0-9]"),
    ("<ZONE>", "(?:[Zz]|[-+][0-9]{2}:?[0-9]{2})"),
    ("<WEEK>", "(?:19|20)[0-9]{2}-?[Ww](?:0[1-9]|[1-4][0-9]|5[0-3])(?:-?[1-7])?"),
    ("<VERSION>", r"[vV][0-9]+(?:\.[0-9]+)*|[0-9]+(?:\.[0-9]+){2,}"),
    ("<PRERELEASE>", r"[-._+]?(?i:alpha|beta|rc|pre|preview|snapshot)[-._]?[0-9]*"),
    // The number of a build, or what `git describe` appends.
    ("<BUILD>", r"[-._+]?(?i:build|b|m)[-._]?[0-9]+|-[0-9]+-g[0-9a-f]{7,40}"),
    // Words for things that programs number.
    (
        "<COUNTED>",
        "worker|thread|server|host|instance|replica|consumer|producer|client|process|proc|pod|runner|agent|executor|\
         conn|connection",
    ),
];

/// Signs that join words. At the beginning or end of a name, they join nothing.
const JOINTS: &[u8] = b"-_.:@/#|,;~+";

/// The compiled patterns.
struct Compiled {
    /// All patterns at once: most names match none.
    any: RegexSet,
    each: Vec<Regex>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let expanded = |pattern: &str| {
        ABBREVIATIONS.iter().fold(pattern.to_owned(), |pattern, (short, long)| pattern.replace(short, long))
    };
    let patterns: Vec<_> = RULES.iter().map(|rule| expanded(rule.pattern)).collect();
    let valid = "the patterns of the table are tested";
    Compiled {
        any: RegexSetBuilder::new(&patterns).unicode(false).build().expect(valid),
        each: patterns.iter().map(|text| RegexBuilder::new(text).unicode(false).build().expect(valid)).collect(),
    }
});

/// Returns the application that a name implies: the name after all rules. Empty if nothing is left of it.
pub(super) fn application(name: &[u8], strips_version: bool) -> Vec<u8> {
    after_all_rules(name, strips_version).map_or_else(|| name.to_vec(), |(rest, _)| rest)
}

/// Returns what the rules took off a name, in order.
pub(super) fn applied(name: &[u8], strips_version: bool) -> Vec<&'static str> {
    after_all_rules(name, strips_version).map_or_else(Vec::new, |(_, applied)| applied)
}

/// Returns the rest of a name and what was taken off; `None` for a name beyond the bounds.
fn after_all_rules(name: &[u8], strips_version: bool) -> Option<(Vec<u8>, Vec<&'static str>)> {
    if name.len() > MAX_NAME {
        return None;
    }
    let (mut rest, mut applied) = (name.to_vec(), Vec::new());
    while let Some((rule, cut)) = next_cut(&rest, strips_version) {
        if applied.len() == MAX_CUTS {
            return None;
        }
        applied.push(rule.what);
        let replacement = (rule.replacement)(&rest[..cut.start], &rest[cut.clone()]);
        rest.splice(cut, replacement);
        trim_joints(&mut rest);
    }
    Some((rest, applied))
}

fn next_cut(name: &[u8], strips_version: bool) -> Option<(&'static Rule, Range<usize>)> {
    let matching = COMPILED.any.matches(name);
    let mut places = matching.iter().filter(|&place| strips_version || !RULES[place].is_optional);
    places.find_map(|place| Some((&RULES[place], cut_by(place, name)?)))
}

/// Returns the cut of one rule. If its condition refuses a match, a later match may still be right.
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

fn trim_joints(name: &mut Vec<u8>) {
    let end = name.iter().rposition(|byte| !JOINTS.contains(byte)).map_or(0, |last| last + 1);
    name.truncate(end);
    let begin = name.iter().position(|byte| !JOINTS.contains(byte)).unwrap_or(0);
    name.drain(..begin);
}

fn has_digit(_: &[u8], cut: &[u8]) -> bool {
    cut.iter().any(u8::is_ascii_digit)
}

/// True if a letter follows a digit, as in most ids, and not in `http2`, `grpc2`, `feed24`.
fn has_letter_after_digit(_: &[u8], cut: &[u8]) -> bool {
    let digit = cut.iter().position(u8::is_ascii_digit);
    digit.is_some_and(|digit| cut[digit..].iter().any(u8::is_ascii_alphabetic))
}

/// True unless it is a word of hexadecimal letters, such as `face2face` or `key-ed25519`.
fn is_hexadecimal_id(before: &[u8], cut: &[u8]) -> bool {
    let begins = cut.iter().position(u8::is_ascii_alphanumeric).unwrap_or(0);
    let word = &cut[begins..];
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_mixed = has_letter_after_digit(before, word) && (digits >= 2 || word.len() < 8 || word.len() >= 12);
    // No word ends in so large a number.
    word.starts_with(b"0x") || (is_mixed || digits >= 5) && !word.ends_with(b"ed25519")
}

/// False for the number of a region such as `eu-west-1`, which counts nothing.
fn not_a_region(before: &[u8], _: &[u8]) -> bool {
    const DIRECTIONS: [&[u8]; 9] =
        [b"north", b"south", b"east", b"west", b"central", b"northeast", b"northwest", b"southeast", b"southwest"];
    const CONTINENTS: [&[u8]; 13] =
        [b"af", b"ap", b"ca", b"cn", b"eu", b"gov", b"il", b"iso", b"me", b"mx", b"sa", b"us", b"usgov"];
    let mut words = before.rsplit(|byte| !byte.is_ascii_alphanumeric());
    let (direction, continent) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    !(DIRECTIONS.contains(&direction) && CONTINENTS.contains(&continent))
}

/// True if letters and digits alternate four times or more, as in no word.
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
            assert_eq!(
                String::from_utf8_lossy(&application(rule.example.as_bytes(), rule.is_optional)),
                rule.app,
                "{}",
                rule.what
            );
            assert_eq!(
                applied(rule.example.as_bytes(), rule.is_optional).first(),
                Some(&rule.what),
                "{}",
                rule.example
            );
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
            assert_eq!(String::from_utf8_lossy(&application(name.as_bytes(), false)), name);
        }
    }

    #[test]
    fn a_name_of_nothing_but_ids_leaves_nothing() {
        for name in ["12345", "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "0a3f9c77d1e2", "10.0.0.5:4711", "-1-2-3"] {
            assert_eq!(application(name.as_bytes(), false), b"", "{name}");
        }
    }

    #[test]
    fn a_name_without_end_costs_nothing() {
        let long = "-1".repeat(MAX_NAME);
        assert_eq!(application(long.as_bytes(), false), long.as_bytes());
    }
}
