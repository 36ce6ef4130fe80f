//! Where and to whom the web server serves.

use std::net::{SocketAddr, ToSocketAddrs};

use url::Url;

use super::Faults;
use super::values::elements;
use crate::cli::{PagesMode, WebArgs};
use crate::web::{ConfigFile, PagePolicy};

pub(super) fn listen(words: &[String], faults: &mut Faults) -> Vec<SocketAddr> {
    elements(words)
        .filter_map(|text| faults.take("--web.listen-address", listen_address(text).map(Some), None))
        .collect()
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    let mut addresses =
        whole.to_socket_addrs().map_err(|_| format!("{text} is not an address; write :19121 or 127.0.0.1:19121"))?;
    addresses.next().ok_or_else(|| format!("{text} does not resolve"))
}

/// An empty name is none, as for other exporters.
pub(super) fn web_config(words: &WebArgs, faults: &mut Faults) -> Option<ConfigFile> {
    let path = words.config_file.as_deref().filter(|path| !path.as_os_str().is_empty())?;
    ConfigFile::read(path).map_err(|told| told.into_iter().for_each(|fault| faults.add(fault))).ok()
}

pub(super) fn telemetry_path(words: &WebArgs, faults: &mut Faults) -> String {
    let path = &words.telemetry_path;
    let fault = if !path.starts_with('/') {
        "must begin with a slash"
    } else if path == "/"
        || path.starts_with("/-/")
        || ["/health", "/clients", "/apps", "/closed"].contains(&path.as_str())
        || ["/assets/", "/api/", "/clients/"].iter().any(|taken| path.starts_with(taken))
    {
        "is taken by another page"
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')) {
        "may hold only visible ASCII characters, and neither ? nor #"
    } else {
        return path.clone();
    };
    faults.add(format!("--web.telemetry-path: {path} {fault}; write /metrics"));
    String::new()
}

/// Who may see pages.
pub(super) fn pages(words: &WebArgs) -> PagePolicy {
    match words.pages {
        PagesMode::Auto => PagePolicy::Auto,
        PagesMode::On => PagePolicy::On,
        PagesMode::Off => PagePolicy::Off,
    }
}

/// Where browsers find the pages, without a slash at the end, so that a page's path can be appended. An empty one is none.
pub(super) fn external_url(words: &WebArgs, faults: &mut Faults) -> Option<String> {
    let text = words.external_url.as_deref().filter(|text| !text.is_empty())?;
    let url = Url::parse(text).ok().filter(|url| {
        let is_secretless = url.username().is_empty() && url.password().is_none();
        ["http", "https"].contains(&url.scheme()) && is_secretless && url.query().is_none() && url.fragment().is_none()
    });
    // Not repeated, because there may be a password in it.
    let fault = "is no address to which a path can be appended; write https://HOST/ without user and query".to_owned();
    let url = url.map_or(Err(fault), |url| Ok(Some(url.as_str().trim_end_matches('/').to_owned())));
    faults.take("--web.external-url", url, None)
}
