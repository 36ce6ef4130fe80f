//! Analysis of PromQL: the series that an expression selects, and the labels of its result.
//!
//! Labels are inferred with the rules of Prometheus. So a legend, a match or an annotation that names a label that does
//! not exist is found without running Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use promql_parser::label::{Labels as Names, MatchOp, Matcher};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector, parse,
};
use redis_client_exporter::catalogue::{ALL, Metric, MetricKind};

/// Label names.
pub(crate) type Labels = BTreeSet<String>;

/// Labels that Prometheus adds to every series of a target.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

/// Labels that only some targets have. `without` may name them although a series lacks them.
const OF_SOME_TARGETS: &[&str] = &["pod"];

/// Series that Prometheus creates itself, with their labels.
const OF_PROMETHEUS: [(&str, &[&str]); 2] =
    [("up", &[]), ("ALERTS", &["alertname", "alertstate", "severity", "redis", "client_app"])];

/// A selector and its context.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) series: String,
    /// The matchers as written: name, operator, value.
    pub(crate) matchers: Vec<(String, String, String)>,
    pub(crate) range: Option<Duration>,
    /// The functions and aggregations that it is in, the innermost last.
    pub(crate) within: Vec<String>,
}

/// Parses an expression.
///
/// # Panics
/// If it is not valid PromQL.
pub(crate) fn read(expr: &str) -> Expr {
    parse(expr).unwrap_or_else(|fault| panic!("{expr}: {fault}"))
}

/// Returns the metric that a series name belongs to.
pub(crate) fn metric(series: &str) -> Option<&'static Metric> {
    let bucket_of = series.strip_suffix("_bucket").unwrap_or_default();
    ALL.iter().find(|metric| match metric.kind {
        MetricKind::Histogram => metric.name == bucket_of,
        MetricKind::Counter | MetricKind::Gauge => metric.name == series,
    })
}

/// Returns every selector of an expression.
pub(crate) fn selectors(expr: &Expr) -> Vec<Selector> {
    let mut found = Vec::new();
    collect(expr, &mut Vec::new(), &mut found);
    found
}

fn collect(expr: &Expr, within: &mut Vec<String>, found: &mut Vec<Selector>) {
    match expr {
        Expr::VectorSelector(vector) => found.push(selector(vector, None, within)),
        Expr::MatrixSelector(matrix) => found.push(selector(&matrix.vs, Some(matrix.range), within)),
        Expr::Aggregate(aggregate) => {
            within.push(aggregate.op.to_string());
            collect(&aggregate.expr, within, found);
            within.pop();
        }
        Expr::Call(call) => {
            within.push(call.func.name.to_owned());
            call.args.args.iter().for_each(|argument| collect(argument, within, found));
            within.pop();
        }
        Expr::Binary(binary) => {
            collect(&binary.lhs, within, found);
            collect(&binary.rhs, within, found);
        }
        Expr::Paren(paren) => collect(&paren.expr, within, found),
        Expr::Unary(unary) => collect(&unary.expr, within, found),
        Expr::Subquery(subquery) => collect(&subquery.expr, within, found),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn selector(vector: &VectorSelector, range: Option<Duration>, within: &[String]) -> Selector {
    let matchers = vector.matchers.matchers.iter();
    let written = |matcher: &Matcher| (matcher.name.clone(), matcher.op.to_string(), matcher.value.clone());
    Selector {
        series: vector.name.clone().unwrap_or_default(),
        matchers: matchers.map(written).collect(),
        range,
        within: within.to_vec(),
    }
}

/// The known series: those of the catalogue, Prometheus's own, and recorded ones.
#[derive(Debug, Default)]
pub(crate) struct Known {
    recorded: BTreeMap<String, Labels>,
}

impl Known {
    /// Adds a series that a recording rule creates.
    pub(crate) fn record(&mut self, series: &str, labels: Labels) {
        self.recorded.insert(series.to_owned(), labels);
    }

    /// Returns the labels of an expression's result.
    ///
    /// # Errors
    /// Names a series or label that does not exist, or a match between two sides with different labels.
    pub(crate) fn labels(&self, expr: &Expr) -> Result<Labels, String> {
        match expr {
            Expr::VectorSelector(vector) => self.selected(vector),
            Expr::MatrixSelector(matrix) => self.selected(&matrix.vs),
            Expr::Aggregate(aggregate) => self.aggregated(aggregate),
            Expr::Binary(binary) => self.matched(binary),
            Expr::Call(call) => self.called(call),
            Expr::Paren(paren) => self.labels(&paren.expr),
            Expr::Unary(unary) => self.labels(&unary.expr),
            Expr::Subquery(subquery) => self.labels(&subquery.expr),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Ok(Labels::new()),
        }
    }

    fn selected(&self, vector: &VectorSelector) -> Result<Labels, String> {
        let series = vector.name.as_deref().unwrap_or_default();
        let labels = self.of_series(series).ok_or_else(|| format!("there is no series {series}"))?;
        let matchers = vector.matchers.matchers.iter();
        match matchers.map(|matcher| &matcher.name).find(|name| !labels.contains(*name)) {
            Some(name) => Err(format!("{series} has no label {name}")),
            None => Ok(labels),
        }
    }

    fn of_series(&self, series: &str) -> Option<Labels> {
        if let Some(labels) = self.recorded.get(series) {
            return Some(labels.clone());
        }
        let of_prometheus = OF_PROMETHEUS.iter().find(|(name, _)| *name == series).map(|(_, labels)| labels.to_vec());
        let own = of_prometheus.or_else(|| {
            let metric = metric(series)?;
            let le: &[&str] = if metric.kind == MetricKind::Histogram { &["le"] } else { &[] };
            Some([metric.labels, le].concat())
        })?;
        Some(own.into_iter().chain(OF_TARGETS).map(str::to_owned).collect())
    }

    fn aggregated(&self, aggregate: &AggregateExpr) -> Result<Labels, String> {
        let inner = self.labels(&aggregate.expr)?;
        // topk and bottomk select series and keep their labels.
        let chooses = aggregate.op.to_string().ends_with('k');
        match &aggregate.modifier {
            None if chooses => Ok(inner),
            Some(LabelModifier::Include(names)) if chooses => among(names, &inner).map(|_| inner),
            None => Ok(Labels::new()),
            Some(LabelModifier::Include(names)) => among(names, &inner),
            Some(LabelModifier::Exclude(names)) => {
                let known = names.labels.iter().filter(|name| !OF_SOME_TARGETS.contains(&name.as_str()));
                let taken = among(&Names { labels: known.cloned().collect() }, &inner)?;
                Ok(inner.difference(&taken).cloned().collect())
            }
        }
    }

    fn matched(&self, binary: &BinaryExpr) -> Result<Labels, String> {
        let (left, right) = (self.labels(&binary.lhs)?, self.labels(&binary.rhs)?);
        if binary.lhs.value_type() == ValueType::Scalar {
            return Ok(right);
        }
        if binary.rhs.value_type() == ValueType::Scalar {
            return Ok(left);
        }
        let modifier = binary.modifier.as_ref();
        let on = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
            Some(LabelModifier::Include(names)) => {
                among(names, &right)?;
                Some(among(names, &left)?)
            }
            Some(LabelModifier::Exclude(names)) => {
                return Err(format!("ignoring ({names}) is not supported by this analysis"));
            }
            None if left != right => return Err(format!("the labels {left:?} never match {right:?}")),
            None => None,
        };
        match modifier.map(|modifier| &modifier.card) {
            Some(VectorMatchCardinality::ManyToOne(names)) => Ok(&left | &among(names, &right)?),
            Some(VectorMatchCardinality::OneToMany(names)) => Ok(&right | &among(names, &left)?),
            Some(VectorMatchCardinality::ManyToMany) => Ok(left),
            Some(VectorMatchCardinality::OneToOne) | None => Ok(on.unwrap_or(left)),
        }
    }

    fn called(&self, call: &Call) -> Result<Labels, String> {
        let arguments = &call.args.args;
        let vector =
            arguments.iter().find(|argument| matches!(argument.value_type(), ValueType::Vector | ValueType::Matrix));
        let mut labels = vector.map_or(Ok(Labels::new()), |vector| self.labels(vector))?;
        match call.func.name {
            "absent_over_time" | "absent" => Ok(vector.map_or_else(Labels::new, |vector| equality_labels(vector))),
            "histogram_quantile" if !labels.remove("le") => {
                Err("histogram_quantile of series without the label le".to_owned())
            }
            _ => Ok(labels),
        }
    }
}

/// Returns the names if all of them exist.
fn among(names: &Names, labels: &Labels) -> Result<Labels, String> {
    match names.labels.iter().find(|name| !labels.contains(*name)) {
        Some(name) => Err(format!("there is no label {name}, only {labels:?}")),
        None => Ok(names.labels.iter().cloned().collect()),
    }
}

/// The labels of the result of `absent`: those that the selector matches with `=`.
fn equality_labels(vector: &Expr) -> Labels {
    let matchers = match vector {
        Expr::VectorSelector(vector) => &vector.matchers.matchers,
        Expr::MatrixSelector(matrix) => &matrix.vs.matchers.matchers,
        _ => return Labels::new(),
    };
    matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal).map(|matcher| matcher.name.clone()).collect()
}

#[test]
fn labels_are_inferred_as_prometheus_does() {
    let known = Known::default();
    let labels = |expr: &str| known.labels(&read(expr)).map(|labels| labels.into_iter().collect::<Vec<_>>().join(" "));
    for (expr, expected) in [
        ("redis_clients_up", "instance job redis"),
        ("sum(redis_clients_up)", ""),
        ("topk(3, redis_clients_up)", "instance job redis"),
        ("topk by (job) (3, redis_clients_up)", "instance job redis"),
        ("max without (instance, pod) (redis_clients_app_idle_connections)", "client_app job min_idle redis"),
        ("rate(redis_clients_closed_total[5m]) * 2 > 1", "instance job reason redis"),
        ("histogram_quantile(0.5, sum by (le, job) (redis_clients_connection_age_seconds_bucket))", "job"),
        ("redis_clients_up and on (job) up", "instance job redis"),
        ("redis_clients_up * on (job, redis) redis_clients_up", "job redis"),
        (
            "redis_clients_up * on (instance) group_left (external_url) redis_client_exporter_web_info",
            "external_url instance job redis",
        ),
        (r#"absent(up{job="a", instance=~"b"})"#, "job"),
    ] {
        assert_eq!(labels(expr).as_deref(), Ok(expected), "{expr}");
    }
    for expr in [
        "redis_clients_nothing",
        r#"redis_clients_up{client_app="a"}"#,
        "sum by (client_app) (redis_clients_up)",
        "sum without (client_app) (redis_clients_up)",
        "redis_clients_up / redis_clients_app_online",
        "redis_clients_up and up",
        "redis_clients_up and on (client_app) redis_clients_app_online",
        "histogram_quantile(0.5, redis_clients_up)",
    ] {
        assert!(labels(expr).is_err(), "{expr}");
    }
}
