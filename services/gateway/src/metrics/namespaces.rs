//! The label `namespace`: one value a configured namespace, so that no name of a channel makes a series. Decision record 60.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use gorani_auth::channel::ChannelName;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

use super::histogram::{AtomicHistogram, add_counts};

/// Namespaces that have a value of their own in counters; the channels of the rest are counted as `other`.
const NAMED_MAX: usize = 64;
/// Namespaces that have a value of their own in histograms, each of which has 19 series.
const NAMED_IN_HISTOGRAMS_MAX: usize = 8;

/// The value for channels without a namespace; the settings call them so too.
const WITHOUT_NAMESPACE: &str = "without_namespace";
/// The value for channels of namespaces without a value of their own.
const OTHER: &str = "other";

/// Values of the label `namespace`, in the order of the settings. Cloning shares.
#[derive(Debug, Clone)]
pub struct Namespaces {
    /// Absent where namespaces are not told apart.
    by_name: Option<Arc<HashMap<Box<str>, u8>>>,
    values: Arc<[Cow<'static, str>]>,
}

impl Default for Namespaces {
    /// Namespaces are not told apart.
    fn default() -> Self {
        Self::new(None::<std::iter::Empty<&str>>)
    }
}

/// A value of the label `namespace`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NamespaceIndex(u8);

impl NamespaceIndex {
    /// Its number among the counters of all.
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// Its number among the histograms, of which there are so many: fewer namespaces are told apart there.
    pub fn index_among(self, histograms: usize) -> usize {
        self.index().min(histograms.saturating_sub(1))
    }
}

impl Namespaces {
    /// The label for these namespaces; `None` does not tell them apart.
    pub fn new<'a>(names: Option<impl Iterator<Item = &'a str>>) -> Self {
        let Some(names) = names else {
            return Self { by_name: None, values: [Cow::from("")].into() };
        };
        let names: Vec<&str> = names.take(NAMED_MAX).collect();
        let by_name = names.iter().zip(1_u8..).map(|(name, index)| (Box::from(*name), index)).collect();
        let named = names.iter().map(|name| Cow::from((*name).to_owned()));
        let values = [Cow::from(WITHOUT_NAMESPACE)].into_iter().chain(named).chain([Cow::from(OTHER)]);
        Self { by_name: Some(Arc::new(by_name)), values: values.collect() }
    }

    /// The name of the label; empty where it is not shown.
    pub fn label(&self) -> &'static str {
        if self.by_name.is_some() { "namespace" } else { "" }
    }

    /// Its values in counters, by [`NamespaceIndex::index`].
    pub fn values(&self) -> Arc<[Cow<'static, str>]> {
        self.values.clone()
    }

    /// The value of a channel.
    pub fn of(&self, channel: &str) -> NamespaceIndex {
        let Some(by_name) = &self.by_name else { return NamespaceIndex::default() };
        let Some(namespace) = ChannelName::parse(channel).namespace else { return NamespaceIndex::default() };
        let other = u8::try_from(self.values.len().saturating_sub(1)).unwrap_or(u8::MAX);
        NamespaceIndex(by_name.get(namespace).copied().unwrap_or(other))
    }

    /// Histograms of times, one a value.
    pub(super) fn histograms(&self) -> NamespaceHistograms {
        let named = self.values.len().saturating_sub(1).min(NAMED_IN_HISTOGRAMS_MAX + 1);
        let mut values: Vec<_> = self.values.iter().take(named).cloned().collect();
        values.push(if self.by_name.is_some() { Cow::from(OTHER) } else { Cow::from("") });
        if self.by_name.is_none() {
            values.truncate(1);
        }
        let all = values.into_iter().map(|value| (value, AtomicHistogram::default())).collect();
        NamespaceHistograms { label: self.label(), all }
    }
}

/// Histograms of times by namespace. Those without a value are not shown.
#[derive(Debug, Clone)]
pub struct NamespaceHistograms {
    label: &'static str,
    all: Arc<[(Cow<'static, str>, AtomicHistogram)]>,
}

impl NamespaceHistograms {
    /// Number of them.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The times of all namespaces by bucket, the shortest first.
    pub fn counts(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for (_, histogram) in self.all.iter() {
            add_counts(&mut all, histogram.counts());
        }
        all
    }

    /// The histogram of this number.
    pub fn at(&self, index: usize) -> Option<&AtomicHistogram> {
        self.all.get(index).map(|(_, histogram)| histogram)
    }

    /// The label of a namespace in them; absent where they are not told apart.
    pub fn label_of(&self, namespace: NamespaceIndex) -> Option<(&'static str, &str)> {
        let (value, _) = self.all.get(namespace.index_among(self.all.len()))?;
        (!self.label.is_empty()).then_some((self.label, &**value))
    }

    /// The histogram of a namespace.
    pub fn of(&self, namespace: NamespaceIndex) -> Option<&AtomicHistogram> {
        self.at(namespace.index_among(self.all.len()))
    }
}

impl TypedMetric for NamespaceHistograms {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for NamespaceHistograms {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.label.is_empty() {
            return self.all.first().map_or(Ok(()), |(_, histogram)| histogram.encode(encoder));
        }
        for (value, histogram) in self.all.iter().filter(|(_, histogram)| !histogram.is_unused()) {
            histogram.encode(encoder.encode_family(&[(self.label, &**value)])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        !self.label.is_empty() && self.all.iter().all(|(_, histogram)| histogram.is_unused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_the_value_of_its_namespace_and_an_unknown_one_makes_none() {
        let namespaces = Namespaces::new(Some(["chat", "orders"].into_iter()));
        let value = |channel: &str| namespaces.values()[namespaces.of(channel).index()].clone();
        assert_eq!(value("lobby"), "without_namespace");
        assert_eq!(value("chat:lobby"), "chat");
        assert_eq!(value("$orders:42"), "orders");
        assert_eq!(value("orders#oauth:42"), "without_namespace");
        assert_eq!(value("nothing:42"), "other");
    }

    #[test]
    fn of_many_namespaces_the_first_have_values_of_their_own_and_fewer_of_them_in_histograms() {
        let names: Vec<String> = (0..300).map(|number| format!("n{number}")).collect();
        let namespaces = Namespaces::new(Some(names.iter().map(String::as_str)));
        assert_eq!(namespaces.values().len(), NAMED_MAX + 2);
        assert_eq!(namespaces.values()[namespaces.of("n64:a").index()], "other");
        let histograms = namespaces.histograms();
        assert_eq!(histograms.count(), NAMED_IN_HISTOGRAMS_MAX + 2);
        let named = |channel| namespaces.of(channel).index_among(histograms.count());
        assert_eq!((named("a"), named("n7:a"), named("n8:a"), named("n299:a")), (0, 8, 9, 9));
    }

    #[test]
    fn switched_off_all_channels_are_counted_together() {
        let namespaces = Namespaces::new(None::<std::iter::Empty<&str>>);
        assert_eq!(namespaces.of("chat:a"), namespaces.of("b"));
        assert_eq!(
            (namespaces.label(), namespaces.values().len(), namespaces.histograms().count()),
            ("", 1, 1)
        );
    }
}
