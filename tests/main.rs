//! Integration tests: the exporter with real servers, a real Prometheus, a real browser and hostile peers.

mod accounting;
mod api;
mod browser;
mod channel;
mod churn;
mod clocks;
mod clusters;
mod commands;
mod dashboards;
mod demo;
mod deployment;
mod engines;
mod failures;
mod fleet;
mod hostile_peers;
mod hostile_servers;
mod image;
mod listing_failures;
mod lists;
mod monitoring;
mod names;
mod pages;
mod parity;
mod reliability;
mod remote_source;
mod runbooks;
mod sampling;
mod security;
mod sentinels;
mod servers;
mod service_discovery;
mod subscribers;
#[expect(dead_code, reason = "some of it is for the acceptance tests")]
mod support;
mod web;
mod web_config;
