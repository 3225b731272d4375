//! Settings of traces and the standard variables beside them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::HashMap, time::Duration};

use super::*;

/// The settings of a file with the variables beside it, checked.
fn filled(own: &TelemetrySettings, variables: &[(&str, &str)]) -> TelemetrySettings {
    let of = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables: HashMap<_, _> = variables.iter().map(of).collect();
    let mut settings = own.clone();
    settings.fill_from(&variables);
    settings.validate().unwrap();
    settings
}

fn at(endpoint: &str) -> TelemetrySettings {
    let otlp = OtlpSettings { endpoint: endpoint.to_owned(), ..OtlpSettings::default() };
    TelemetrySettings { otlp, ..TelemetrySettings::default() }
}

fn url(settings: &TelemetrySettings) -> Option<String> {
    settings.otlp.url().unwrap().map(String::from)
}

#[test]
fn the_path_is_added_to_an_endpoint_and_not_to_one_of_traces() {
    assert_eq!(url(&at("http://c:4318")).unwrap(), "http://c:4318/v1/traces");
    assert_eq!(url(&at("https://c/otlp/")).unwrap(), "https://c/otlp/v1/traces");
    let both =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x")];
    assert_eq!(url(&filled(&at(""), &both)).unwrap(), "http://t/x");
}

#[test]
fn variables_switch_traces_on_only_where_they_name_a_collector_or_the_exporter() {
    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
    for (variables, expected) in [
        (&[("OTEL_SERVICE_NAME", "a"), ("OTEL_TRACES_SAMPLER", "always_on")][..], None),
        (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=b")], None),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], None),
        (&[("OTEL_TRACES_EXPORTER", "console")], None),
        (&[ENDPOINT], Some("http://c/v1/traces")),
        (&[("OTEL_TRACES_EXPORTER", "console, otlp")], Some("http://localhost:4318/v1/traces")),
        (&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "otlp")], Some("http://c/v1/traces")),
        (&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], None),
        (&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "zipkin")], None),
        (&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")], None),
    ] {
        let settings = filled(&at(""), variables);
        assert_eq!(url(&settings).as_deref(), expected, "{variables:?}");
        if expected.is_none() {
            assert_eq!(settings, TelemetrySettings::default(), "{variables:?}");
        }
    }
    let none = [("OTEL_TRACES_EXPORTER", "none")];
    assert_eq!(url(&filled(&at("http://own"), &none)).unwrap(), "http://own/v1/traces");
}

#[test]
fn the_standard_variables_fill_what_is_not_set_and_a_setting_goes_before_them() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, b=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-attributes,a=b"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
    ];
    let settings = filled(&at("http://c"), &variables);
    assert_eq!(url(&settings).unwrap(), "http://c/v1/traces");
    assert!((settings.sample - 0.25).abs() < f64::EPSILON);
    assert_eq!(settings.ignored_variables, [""; 0]);
    let OtlpSettings { headers, timeout, service_name, attributes, .. } = settings.otlp;
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(headers, [("authorization", "Bearer x"), ("b", "2")]);
    assert_eq!(
        (timeout, &*service_name, attributes.len()),
        (Duration::from_millis(2500), "from-attributes", 1)
    );
}

#[test]
fn a_variable_that_cannot_be_followed_is_a_warning_by_its_name_and_keeps_no_node_from_starting() {
    for variable in [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "nothing"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
    ] {
        let settings = filled(&at("http://c"), &[variable]);
        let [warning] = settings.ignored_variables.as_slice() else {
            unreachable!("one warning: {settings:?}")
        };
        assert!(warning.starts_with(&format!("{} is ignored: it ", variable.0)), "{warning}");
        assert!(!warning.contains(&format!("it {}", variable.1)), "it shows the value: {warning}");
        assert_eq!(
            TelemetrySettings { ignored_variables: Vec::new(), ..settings },
            at("http://c"),
            "{variable:?}"
        );
    }
    for variables in [
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:pass@c")],
    ] {
        let settings = filled(&at(""), variables);
        assert_eq!((url(&settings), settings.ignored_variables.len()), (None, 1), "{variables:?}");
    }
    let ratio = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "NaN")];
    let settings = filled(&at("http://c"), &ratio);
    assert_eq!((settings.sample, settings.ignored_variables.len()), (0.0, 1));
}

#[test]
fn a_setting_that_cannot_be_is_refused_by_its_name() {
    let with = |otlp: OtlpSettings| TelemetrySettings { otlp, ..TelemetrySettings::default() };
    let header = |name: &str| [(name.to_owned(), "v".to_owned())].into_iter().collect();
    for (settings, named) in [
        (at("c:4318"), "telemetry.otlp.endpoint"),
        (at("ftp://c"), "telemetry.otlp.endpoint"),
        (at("http://u:p@c"), "telemetry.otlp.endpoint"),
        (TelemetrySettings { sample: 1.5, ..at("") }, "telemetry.sample"),
        (TelemetrySettings { sample: f64::NAN, ..at("") }, "telemetry.sample"),
        (with(OtlpSettings { headers: header("a b"), ..OtlpSettings::default() }), "telemetry.otlp.headers"),
        (with(OtlpSettings { timeout: Duration::ZERO, ..OtlpSettings::default() }), "telemetry.otlp.timeout"),
        (
            with(OtlpSettings { service_name: String::new(), ..OtlpSettings::default() }),
            "telemetry.otlp.service_name",
        ),
    ] {
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
}

#[test]
fn the_values_of_headers_are_not_shown() {
    let mut settings = at("http://c");
    settings.otlp.headers.insert("authorization".to_owned(), "Bearer secret".to_owned());
    assert!(!format!("{settings:?}").contains("secret"));
}
