//! What went wrong on a link, as a sentence that names the node and the mend.

use std::fmt::Display;
use std::io;

use redis::{ErrorKind, RedisError};

use super::command::Command;
use crate::sample::{Failure, Reason};
use crate::snapshot::escaped;

/// How much of a server's own words is repeated, in characters.
const QUOTE: usize = 200;

fn failure(reason: Reason, node: &str, sentence: impl Display) -> Failure {
    Failure { reason, message: format!("{node}: {sentence}") }
}

pub(super) fn unresolved(node: &str, error: &io::Error) -> Failure {
    failure(Reason::Resolve, node, format!("the host name does not resolve ({error}); check --redis.addr and DNS"))
}

pub(super) fn unconnected(node: &str, error: &io::Error) -> Failure {
    failure(Reason::Connect, node, format!("cannot connect ({error}); is the server running, and the address right?"))
}

pub(super) fn untrusted(node: &str, why: &str) -> Failure {
    let mend = "check that it is a TLS port (else use redis://), --redis.tls-ca-file and the name in its certificate";
    failure(Reason::Tls, node, format!("TLS failed ({}); {mend}", quoted(why)))
}

pub(super) fn late(node: &str, what: &str, seconds: f64) -> Failure {
    failure(
        Reason::Timeout,
        node,
        format!("{what} within {seconds} s; see whether it is stuck, or raise --redis.timeout"),
    )
}

pub(super) fn too_large(node: &str, limit: u64) -> Failure {
    let megabytes = limit / (1024 * 1024);
    failure(Reason::TooLarge, node, format!("a reply is larger than {megabytes} MiB; look for clients with huge names"))
}

pub(super) fn closed_while_answering(node: &str) -> Failure {
    let mend = "see its log, client-output-buffer-limit normal and maxmemory-clients";
    failure(Reason::Closed, node, format!("it closed the connection while it answered; {mend}"))
}

pub(super) fn unexpected(node: &str, command: Command) -> Failure {
    failure(Reason::Protocol, node, format!("{command} gave a reply of an unexpected type; is this a Redis server?"))
}

pub(super) fn unreadable_password(node: &str, why: &str) -> Failure {
    failure(Reason::Auth, node, format!("the password file cannot be read ({why}); check --redis.password-file"))
}

/// `AUTH` was refused. The server's words are never repeated: some repeat ours, the password among them.
pub(super) fn unauthenticated(node: &str, error: &RedisError) -> Failure {
    if let Some(link) = of_the_link(node, error) {
        return link;
    }
    let text = server_text(error);
    if text.contains("without any password configured") || text.contains("no password is set") {
        return failure(
            Reason::Auth,
            node,
            "it has no password for this user; leave the password out, or set one there",
        );
    }
    if let Some(state) = of_the_state(node, &text) {
        return state;
    }
    failure(Reason::Auth, node, "it refused the user or the password; check --redis.user, --redis.password and its ACL")
}

/// A command was refused, or the link broke under it.
pub(super) fn refused(node: &str, command: Command, error: &RedisError) -> Failure {
    if let Some(link) = of_the_link(node, error) {
        return link;
    }
    let text = server_text(error);
    let words = quoted(&text);
    if let Some(state) = of_the_state(node, &text) {
        return state;
    }
    if text.starts_with("NOPERM") {
        let rule = command.acl_rule();
        let mend = format!("add {rule} to the user (redis-client-exporter check tells all of it)");
        return failure(Reason::NoPermission, node, format!("our user may not run {command}; {mend}"));
    }
    if text.contains("unknown command") || text.contains("nknown subcommand") || text.contains("unknown client sub") {
        return failure(
            Reason::UnknownCommand,
            node,
            format!("it does not know {command} ({words}); is it renamed, or is this not Redis?"),
        );
    }
    failure(Reason::Other, node, format!("{command} failed: {words}"))
}

/// What a server said before it closed the connection, if it is one of its errors.
pub(super) fn of_farewell(node: &str, words: &[u8]) -> Option<Failure> {
    let text = String::from_utf8_lossy(words.strip_prefix(b"-")?);
    of_the_state(node, text.trim_end())
}

/// Errors that say what state the server is in, whatever command was sent.
fn of_the_state(node: &str, text: &str) -> Option<Failure> {
    let code = text.split(' ').next().unwrap_or_default();
    let (reason, sentence) = match code {
        "NOAUTH" => (Reason::Auth, "it wants a password; give --redis.password-file, or user and password"),
        "LOADING" => (Reason::Loading, "it is loading its data and does not answer yet; it will be tried again"),
        "BUSY" => (Reason::Busy, "a script or function holds it; end it with SCRIPT KILL or FUNCTION KILL"),
        "MASTERDOWN" => (
            Reason::MasterDown,
            "it is a replica without its primary; restore the link, or set replica-serve-stale-data yes",
        ),
        "DENIED" => (Reason::Denied, "protected mode keeps us out; set a password there, or connect from its host"),
        _ if text.contains("max number of clients reached") => (
            Reason::MaxClients,
            "it has as many connections as maxclients allows, so we cannot connect; raise maxclients",
        ),
        _ => return None,
    };
    Some(failure(reason, node, sentence))
}

/// Errors of the connection itself.
fn of_the_link(node: &str, error: &RedisError) -> Option<Failure> {
    if error.kind() == ErrorKind::Parse {
        let sentence = "what answers there does not speak the Redis protocol; check the port";
        return Some(failure(Reason::Protocol, node, sentence));
    }
    if error.is_connection_dropped() || error.is_io_error() {
        let why = quoted(&error.to_string());
        let mend = "a TLS port wants rediss://, and some also --redis.tls-cert-file";
        return Some(failure(Reason::Closed, node, format!("it closed the connection ({why}); {mend}")));
    }
    None
}

/// The server's own line, code first.
fn server_text(error: &RedisError) -> String {
    let code = error.code().unwrap_or("ERR");
    format!("{code} {}", error.detail().unwrap_or_default())
}

fn quoted(text: &str) -> String {
    let begin: String = text.chars().take(QUOTE).collect();
    escaped(begin.as_bytes())
}
