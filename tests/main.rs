//! Integration tests: the library through its public API, and the exporter with real servers, a real Prometheus and
//! hostile peers.

mod alerting;
mod api;
mod browser;
mod channel;
mod churn;
mod columns;
mod commands;
mod corpus;
mod dashboards;
mod demo;
mod deployment;
mod failures;
mod frameworks;
mod grouping;
mod image;
mod lists;
mod monitoring;
mod pages;
mod parity;
mod presence;
mod properties;
mod remote_source;
mod runbooks;
mod sampling;
mod security;
mod sequences;
mod servers;
mod structure;
mod subscribers;
mod support;
mod web;
mod web_config;
