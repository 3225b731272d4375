//! The standard variables of OpenTelemetry, which fill settings of traces that are not set. A platform may give them to every process,
//! so one that cannot be followed is a warning and never keeps a node from starting, as the standard says. Decision record 66.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{OtlpSettings, TIMEOUTS, TelemetrySettings, is_header};

/// The exporter that a node is.
const EXPORTER: &str = "otlp";
/// The protocol that it speaks.
const PROTOCOL: &str = "http/protobuf";
/// The collector of the standard where [`EXPORTER`] is asked for and no endpoint is named.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// The variables, and what is wrong with those that are used.
struct Variables<'a> {
    all: &'a HashMap<String, String>,
    warnings: Vec<String>,
}

impl<'a> Variables<'a> {
    /// The standard says that an empty variable is not set.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.all.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The variable of traces, else the one of all signals: its name and its value.
    fn of_traces(&self, of_traces: &'static str, of_all: &'static str) -> Option<(&'static str, &'a str)> {
        [of_traces, of_all].into_iter().find_map(|name| Some((name, self.get(name)?)))
    }

    fn ignore(&mut self, name: &str, problem: &str) {
        self.warnings.push(format!("{name} is ignored: it {problem}"));
    }

    /// Sets the collector where the variables ask for one. Other variables alone never do.
    fn set_endpoint(&mut self, otlp: &mut OtlpSettings) {
        let is_disabled =
            self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporters = self.get("OTEL_TRACES_EXPORTER");
        let is_exporter = |exporters: &str| exporters.split(',').any(|name| name.trim() == EXPORTER);
        if is_disabled || exporters.is_some_and(|exporters| !is_exporter(exporters)) {
            return;
        }
        let named = self.of_traces("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let Some((name, url)) = named.or(exporters.map(|_| ("OTEL_TRACES_EXPORTER", DEFAULT_ENDPOINT)))
        else {
            return;
        };
        let protocol = self.of_traces("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        if protocol.is_some_and(|(_, protocol)| protocol != PROTOCOL) {
            // Its port does not speak HTTP either.
            return self.ignore(name, "comes with a protocol that is not http/protobuf");
        }
        let mut asked = otlp.clone();
        if name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" {
            url.clone_into(&mut asked.traces_endpoint);
        } else {
            url.clone_into(&mut asked.endpoint);
        }
        match asked.url() {
            Ok(_) => *otlp = asked,
            Err(_) => self.ignore(name, "is no URL of HTTP without user and password"),
        }
    }

    fn set_headers(&mut self, otlp: &mut OtlpSettings) {
        let named = self.of_traces("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
        let Some((name, text)) = named else { return };
        match pairs(text).filter(|headers| headers.iter().all(is_header)) {
            Some(headers) => otlp.headers = headers,
            None => self.ignore(name, "is not name=value of headers, with commas between"),
        }
    }

    fn set_attributes(&mut self, otlp: &mut OtlpSettings) {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let Some(text) = self.get(name) else { return };
        match pairs(text) {
            Some(attributes) => otlp.attributes = attributes,
            None => self.ignore(name, "is not name=value, with commas between"),
        }
    }

    fn set_timeout(&mut self, otlp: &mut OtlpSettings) {
        let named = self.of_traces("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let Some((name, text)) = named else { return };
        match text.parse().map(Duration::from_millis) {
            Ok(timeout) if TIMEOUTS.contains(&timeout) => otlp.timeout = timeout,
            _ => self.ignore(name, "is no number of milliseconds from 100 to 60000"),
        }
    }

    /// The part that a sampler of the standard takes of what has no parent. Where there is a parent, it decides, whatever the sampler
    /// is.
    fn sample(&mut self) -> f64 {
        // The standard's own default is all; the settings' is none, since every request would be a trace.
        let Some(sampler) = self.get("OTEL_TRACES_SAMPLER") else { return 0.0 };
        match sampler {
            "always_off" | "parentbased_always_off" => return 0.0,
            "always_on" | "parentbased_always_on" => return 1.0,
            "traceidratio" | "parentbased_traceidratio" => {}
            _ => {
                let known =
                    "is not always_on, always_off or traceidratio, nor one of them after parentbased_";
                self.ignore("OTEL_TRACES_SAMPLER", known);
                return 0.0;
            }
        }
        let name = "OTEL_TRACES_SAMPLER_ARG";
        match self.get(name).map_or(Ok(1.0), str::parse) {
            Ok(part) if (0.0..=1.0).contains(&part) => part,
            _ => {
                self.ignore(name, "is no number from 0 to 1");
                0.0
            }
        }
    }
}

impl TelemetrySettings {
    /// Fills what is not set from the standard variables. A setting of one's own goes before a variable.
    pub(in super::super) fn fill_from(&mut self, variables: &HashMap<String, String>) {
        if !cfg!(feature = "otlp") {
            // A build without traces has no use for them, and must not refuse what every process is given.
            return;
        }
        let mut variables = Variables { all: variables, warnings: Vec::new() };
        let default = Self::default();
        if self.otlp.is_off() {
            variables.set_endpoint(&mut self.otlp);
        }
        if !self.otlp.is_off() {
            let otlp = &mut self.otlp;
            if otlp.headers.is_empty() {
                variables.set_headers(otlp);
            }
            if otlp.attributes.is_empty() {
                variables.set_attributes(otlp);
            }
            if otlp.timeout == default.otlp.timeout {
                variables.set_timeout(otlp);
            }
            if let Some((_, file)) = variables
                .of_traces("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
                .filter(|_| otlp.ca_pem_file.as_os_str().is_empty())
            {
                otlp.ca_pem_file = file.into();
            }
            let attribute = otlp.attributes.remove("service.name");
            let service_name = variables.get("OTEL_SERVICE_NAME").map(str::to_owned).or(attribute);
            if let Some(name) = service_name.filter(|name| !name.is_empty())
                && otlp.service_name == default.otlp.service_name
            {
                otlp.service_name = name;
            }
            if self.sample == default.sample {
                self.sample = variables.sample();
            }
        }
        self.ignored_variables = variables.warnings;
    }
}

/// `name=value,name=value`, with percent signs before what cannot stand there.
fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_owned(), percent_decoded(value.trim())?))
        })
        .collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, others) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = others;
    }
    String::from_utf8(bytes).ok()
}
