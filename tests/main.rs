//! The tests that stand outside: the library as a user of it sees it, and the program against real servers, a real
//! Prometheus and a hostile world.

mod alerting;
mod api;
mod browser;
mod channel;
mod churn;
mod commands;
mod corpus;
mod dashboards;
mod deployment;
mod failures;
mod frameworks;
mod grouping;
mod image;
mod lists;
mod monitoring;
mod pages;
mod presence;
mod properties;
mod remote_source;
mod runbooks;
mod sampling;
mod security;
mod sequences;
mod servers;
mod streams;
mod subscribers;
mod support;
mod web;
mod web_config;
