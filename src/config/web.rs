//! The flags for the web server: addresses, paths, access.

use std::net::{SocketAddr, ToSocketAddrs};

use url::Url;

use super::Faults;
use super::values::elements;
use crate::cli::{PagesMode, WebArgs};
use crate::web::{ConfigFile, PagePolicy};

pub(super) fn listen(args: &[String], faults: &mut Faults) -> Vec<SocketAddr> {
    elements(args)
        .filter_map(|text| faults.take("--web.listen-address", listen_address(text).map(Some), None))
        .collect()
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let with_host = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    let mut addresses = with_host
        .to_socket_addrs()
        .map_err(|error| format!("{text} is not an address ({error}); examples: :19121, 127.0.0.1:19121"))?;
    addresses.next().ok_or_else(|| format!("{text} does not resolve to an address; check the host name"))
}

/// Reads the web configuration file. An empty path means no file, as in other exporters.
pub(super) fn web_config(args: &WebArgs, faults: &mut Faults) -> Option<ConfigFile> {
    let path = args.config_file.as_deref().filter(|path| !path.as_os_str().is_empty())?;
    ConfigFile::read(path).map_err(|found| found.into_iter().for_each(|fault| faults.add(fault))).ok()
}

pub(super) fn telemetry_path(args: &WebArgs, faults: &mut Faults) -> String {
    let path = &args.telemetry_path;
    let fault = if !path.starts_with('/') {
        "must begin with a slash"
    } else if path == "/"
        || path.starts_with("/-/")
        || ["/health", "/clients", "/apps", "/closed"].contains(&path.as_str())
        || ["/assets/", "/api/", "/clients/"].iter().any(|taken| path.starts_with(taken))
    {
        "is the path of another page"
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')) {
        "must not contain ?, #, spaces or non-ASCII characters"
    } else {
        return path.clone();
    };
    faults.add(format!("--web.telemetry-path: {path} {fault}; example: /metrics"));
    String::new()
}

/// Access to the pages.
pub(super) fn pages(args: &WebArgs) -> PagePolicy {
    match args.pages {
        PagesMode::Auto => PagePolicy::Auto,
        PagesMode::On => PagePolicy::On,
        PagesMode::Off => PagePolicy::Off,
    }
}

/// The URL of the pages without a slash at the end, so that a page's path can be appended. An empty value means none.
pub(super) fn external_url(args: &WebArgs, faults: &mut Faults) -> Option<String> {
    let text = args.external_url.as_deref().filter(|text| !text.is_empty())?;
    let url = Url::parse(text).ok().filter(|url| {
        let has_no_user = url.username().is_empty() && url.password().is_none();
        ["http", "https"].contains(&url.scheme()) && has_no_user && url.query().is_none() && url.fragment().is_none()
    });
    // The fault does not repeat the value, because it may contain a password.
    let fault = "not an http or https URL without user, query and fragment; example: https://clients.example.org/";
    let url = url.map_or(Err(fault.to_owned()), |url| Ok(Some(url.as_str().trim_end_matches('/').to_owned())));
    faults.take("--web.external-url", url, None)
}
