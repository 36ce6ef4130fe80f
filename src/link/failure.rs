//! The failures of a link, as sentences that name the node, the answer, and the fix.

use std::fmt::Display;
use std::io;

use redis::RedisError;

use super::address::{Credentials, Endpoint, Password};
use super::command::Command;
use super::node::Node;
use super::reply_reader::ReadFault;
use crate::failure::{Failure, Reason};
use crate::text::escaped;

/// The channel of a subscription or message, if no other is configured (`--announce.channel`).
const DEFAULT_CHANNEL: &str = "__redis__:cli";

/// Maximum length of a quotation of the server's answer, in characters.
const MAX_QUOTE_CHARS: usize = 200;

fn failure(reason: Reason, node: &str, sentence: impl Display) -> Failure {
    Failure { reason, message: format!("{node}: {sentence}") }
}

pub(super) fn resolve_failed(node: &Node, error: &io::Error) -> Failure {
    let host = match &node.address.endpoint {
        Endpoint::Tcp { host, .. } if !node.name.contains(host) => format!(" {host}"),
        _ => String::new(),
    };
    let sentence = format!("cannot resolve the host name{host} ({error}); check --redis.addr and DNS");
    failure(Reason::Resolve, &node.name, sentence)
}

/// The name of a discovered node leads only to addresses that are not dialed.
pub(super) fn special_address(node: &Node, host: &str) -> Failure {
    let sentence = format!(
        "the announced name {host} leads to a link-local, multicast or unspecified address, which is not dialed; check \
        the names that the nodes announce, or use --discovery.address-map"
    );
    failure(Reason::Resolve, &node.name, sentence)
}

pub(super) fn connect_failed(node: &Node, error: &io::Error) -> Failure {
    let fix = "is the server running, and is the address right?";
    failure(Reason::Connect, &node.name, format!("{}{}; {fix}", plain(&error.to_string()), node.at()))
}

pub(super) fn tls_failed(node: &str, why: &str) -> Failure {
    // The names in a certificate are the server's text.
    failure(Reason::Tls, node, format!("TLS failed: {}", escaped(why.as_bytes())))
}

/// Connecting took too long. A plain port does not answer a TLS handshake: it waits for the end of a line.
pub(super) fn dial_timed_out(node: &Node, what: &str, seconds: f64) -> Failure {
    let fix = match node.address.endpoint.is_tls() {
        true => {
            "check that this is a TLS port (otherwise use redis://), whether the server is blocked or the network is \
                 slow, or raise --redis.timeout"
        }
        false => "check whether the server is blocked or the network is slow, or raise --redis.timeout",
    };
    failure(Reason::Timeout, &node.name, format!("{what}{} within {seconds} s; {fix}", node.at()))
}

pub(super) fn timed_out(node: &str, what: &str, seconds: f64) -> Failure {
    let fix = "check whether the server is blocked or the network is slow, or raise --redis.timeout";
    failure(Reason::Timeout, node, format!("{what} within {seconds} s; {fix}"))
}

/// A reply could not be read.
pub(super) fn unreadable(node: &str, command: Command, fault: ReadFault) -> Failure {
    match fault {
        ReadFault::Closed(error) => closed(node, &error),
        ReadFault::Shape => not_redis(node),
        ReadFault::TooLarge(limit) => {
            let fix = match command.is_listing() {
                true => "check CLIENT LIST for clients with very long names",
                false => "is this a Redis or Valkey server?",
            };
            failure(Reason::TooLarge, node, format!("the reply to {command} is larger than {limit} bytes; {fix}"))
        }
    }
}

/// The reply to `AUTH` could not be read.
pub(super) fn unreadable_login(node: &str, fault: ReadFault) -> Failure {
    match fault {
        ReadFault::Closed(error) => closed(node, &error),
        ReadFault::Shape => not_redis(node),
        ReadFault::TooLarge(limit) => {
            let sentence = format!("the reply to AUTH is larger than {limit} bytes; is this a Redis or Valkey server?");
            failure(Reason::TooLarge, node, sentence)
        }
    }
}

/// The replies of all nodes use up the memory for them.
pub(super) fn no_memory(node: &str, limit: u64) -> Failure {
    let sentence = format!(
        "there was no memory for its reply: the replies of all servers may take {limit} bytes; raise \
        --sample.max-memory, or check redis_clients_connections for a server with far too many clients"
    );
    failure(Reason::TooLarge, node, sentence)
}

fn not_redis(node: &str) -> Failure {
    let sentence = "what answers on this port does not speak the Redis protocol; check the port";
    failure(Reason::Protocol, node, sentence)
}

fn closed(node: &str, error: &io::Error) -> Failure {
    let why = plain(&escaped(error.to_string().as_bytes()));
    let fix = "it may be stopping or restarting; if this is a TLS port, use rediss://, and --redis.tls-cert-file if it \
               requires a client certificate";
    failure(Reason::Closed, node, format!("the server closed the connection ({why}); {fix}"))
}

pub(super) fn closed_while_answering(node: &str) -> Failure {
    let fix = "check its log, client-output-buffer-limit normal, and maxmemory-clients";
    failure(Reason::Closed, node, format!("the server closed the connection while it answered; {fix}"))
}

pub(super) fn unexpected_reply(node: &str, command: Command) -> Failure {
    let fix = "is this a Redis or Valkey server?";
    failure(Reason::Protocol, node, format!("{command} returned a reply of an unexpected type; {fix}"))
}

pub(super) fn password_unreadable(node: &Node, why: &str) -> Failure {
    let is_command = |credentials: &Credentials| matches!(credentials.password, Password::Command(_));
    let sentence = match node.address.credentials.as_ref().is_some_and(is_command) {
        true => format!("there is no password ({why}); check password_command in --redis.auth-file, and the log"),
        false => format!("the password file cannot be read ({why}); check --redis.password-file"),
    };
    failure(Reason::Auth, &node.name, sentence)
}

/// The server refused `AUTH`. The server's answer is never quoted: some servers repeat our args, the password among
/// them.
pub(super) fn auth_refused(node: &str, error: &RedisError) -> Failure {
    let text = server_text(error);
    if text.contains("without any password configured") || text.contains("no password is set") {
        let sentence = "the server has no password for this user; leave the password out, or set one on the server";
        return failure(Reason::Auth, node, sentence);
    }
    if let Some(failure) = server_state_error(node, &text) {
        return failure;
    }
    let fix = "check --redis.user and --redis.password-file, or the module of --redis.auth-file, and the user's ACL on \
               the server";
    failure(Reason::Auth, node, format!("AUTH failed: the server refused the user or the password; {fix}"))
}

/// The server refused a command.
pub(super) fn refused(node: &str, command: Command, error: &RedisError) -> Failure {
    let text = server_text(error);
    let answer = quoted(&text);
    if let Some(failure) = server_state_error(node, &text) {
        return failure;
    }
    if text.starts_with("NOPERM") && text.contains("channel") {
        let fix = format!(
            "add & and the name of the channel to its ACL (&{DEFAULT_CHANNEL}, if --announce.channel is not set); \
            redis-client-exporter check prints the complete ACL line"
        );
        return failure(Reason::NoPermission, node, format!("our user may not use the channel (NOPERM); {fix}"));
    }
    if text.starts_with("NOPERM") {
        let rule = command.acl_rule();
        let fix = format!("add {rule} to its ACL; redis-client-exporter check prints the complete ACL line");
        return failure(Reason::NoPermission, node, format!("our user may not run {command} (NOPERM); {fix}"));
    }
    if text.contains("unknown command") || text.contains("nknown subcommand") || text.contains("unknown client sub") {
        let fix = "is the command renamed, or is this not Redis or Valkey?";
        return failure(Reason::UnknownCommand, node, format!("the server does not have {command} ({answer}); {fix}"));
    }
    failure(Reason::Other, node, format!("{command} failed: {answer}"))
}

/// Errors that depend on the server's state, and not on the command.
fn server_state_error(node: &str, text: &str) -> Option<Failure> {
    let code = text.split(' ').next().unwrap_or_default();
    let (reason, sentence) = match code {
        "NOAUTH" => (
            Reason::Auth,
            "the server requires a password; set --redis.password-file, or user and password; if that file maps \
             addresses to passwords, add this address to it",
        ),
        "LOADING" => (Reason::Loading, "the server is loading its data and does not answer yet; it will be retried"),
        "BUSY" => (Reason::Busy, "a script or function blocks the server; end it with SCRIPT KILL or FUNCTION KILL"),
        "MASTERDOWN" => (
            Reason::MasterDown,
            "the server is a replica without its primary; restore their link, or set replica-serve-stale-data yes",
        ),
        "DENIED" => (
            Reason::Denied,
            "protected mode refuses our connection; set a password on the server, or connect from its own host",
        ),
        _ if text.contains("max number of clients reached") => (
            Reason::MaxClients,
            "the server has reached maxclients and refuses our connection; raise maxclients or close connections",
        ),
        _ => return None,
    };
    Some(failure(reason, node, sentence))
}

/// The server's error line, code first.
fn server_text(error: &RedisError) -> String {
    let code = error.code().unwrap_or("ERR");
    format!("{code} {}", error.detail().unwrap_or_default())
}

/// The text of an operating system error as a part of a sentence: without its number, and without a capital letter.
fn plain(text: &str) -> String {
    let text = text.split_once(" (os error ").map_or(text, |(begin, _)| begin);
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn quoted(text: &str) -> String {
    let begin: String = text.chars().take(MAX_QUOTE_CHARS).collect();
    escaped(begin.as_bytes())
}
