//! The figures of a run as SVG files beside its dated Markdown: lines over one axis, in one or more panels.
//!
//! The same numbers make the same bytes. A figure is readable in a light and in a dark page, since it has a background of its own
//! that follows the reader's colour scheme; series differ by their marks, not by colour alone; `title` and `desc` are what a screen
//! reader reads.

mod svg;
mod windows;

use std::{fs, io, path::Path};

pub(crate) use self::windows::Windows;

/// Points of one series at most; a figure of a longer run has longer windows.
pub(crate) const POINTS_MAX: usize = 120;

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// The last part of the file's name.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// The description for a reader who cannot see it.
    pub(crate) description: String,
    pub(crate) x: Axis,
    /// The meaning and the unit of the other axis.
    pub(crate) y: String,
    pub(crate) scale: Scale,
    pub(crate) panels: Vec<Panel>,
}

/// The axis that the panels share.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) label: String,
    /// The names of the places 0, 1, 2 …; a scale of numbers where there are none.
    pub(crate) places: Vec<String>,
}

/// The places of values on the axis that goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// In proportion, from 0.
    FromZero,
    /// In proportion to their logarithm: for times of which some are a thousand times as long as others.
    Decades,
}

/// Lines over one axis.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panel {
    /// Nothing where the figure has only one.
    pub(crate) title: String,
    pub(crate) series: Vec<Series>,
    /// Parts of the axis in which something was broken.
    pub(crate) faults: Vec<[f64; 2]>,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// Lines of one name look the same in all panels.
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Figure {
    /// The text of the file.
    pub(crate) fn svg(&self) -> io::Result<String> {
        svg::render(self).map_err(io::Error::other)
    }

    /// Series by their name, in the order in which they come first.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for series in self.panels.iter().flat_map(|panel| &panel.series) {
            if !names.contains(&&*series.name) {
                names.push(&series.name);
            }
        }
        names
    }
}

/// Writes the figures beside the Markdown of their run, and shows them in it.
pub(crate) fn write_beside(markdown: &Path, figures: &[Figure]) -> io::Result<()> {
    let stem = markdown.file_stem().unwrap_or_default().to_string_lossy();
    let mut text = fs::read_to_string(markdown)?;
    for figure in figures.iter().filter(|figure| figure.panels.iter().any(|panel| !panel.series.is_empty())) {
        let name = format!("{stem}-{}.svg", figure.name);
        fs::write(markdown.with_file_name(&name), figure.svg()?)?;
        let shown = format!("\n![{}]({name})\n", figure.title);
        // It is there already where a figure is drawn again.
        if !text.contains(&shown) {
            text.push_str(&shown);
        }
    }
    fs::write(markdown, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn figure() -> Figure {
        let series =
            |name: &str, points: &[(f64, f64)]| Series { name: name.to_owned(), points: points.to_vec() };
        Figure {
            name: "latency",
            title: "Latency <over> time & more".to_owned(),
            description: "The line of p99 lies above that of p50.".to_owned(),
            x: Axis { label: "seconds".to_owned(), places: Vec::new() },
            y: "µs".to_owned(),
            scale: Scale::Decades,
            panels: vec![
                Panel {
                    title: "kill-node".to_owned(),
                    series: vec![
                        series("p50", &[(0.0, 100.0), (1.0, 120.5), (2.0, 90.0)]),
                        series("p99", &[(0.0, 300.0), (1.0, 1_250.0), (2.0, 310.0)]),
                    ],
                    faults: vec![[0.5, 1.5]],
                },
                Panel {
                    title: "none".to_owned(),
                    series: vec![series("p99", &[(0.0, 7.0)])],
                    faults: Vec::new(),
                },
            ],
        }
    }

    #[test]
    fn a_run_has_its_figures_beside_its_markdown_which_shows_them_and_none_for_what_was_not_measured() {
        let dir = tempfile::tempdir().unwrap();
        let markdown = dir.path().join("2026-01-02-gateway.md");
        fs::write(&markdown, "# gateway\n").unwrap();
        let unmeasured = Figure { name: "memory", panels: vec![Panel::default()], ..figure() };
        write_beside(&markdown, &[figure(), unmeasured.clone()]).unwrap();
        write_beside(&markdown, &[figure(), unmeasured]).unwrap();
        let text = fs::read_to_string(&markdown).unwrap();
        assert_eq!(text, "# gateway\n\n![Latency <over> time & more](2026-01-02-gateway-latency.svg)\n");
        let svg = fs::read_to_string(dir.path().join("2026-01-02-gateway-latency.svg")).unwrap();
        assert_eq!(svg, figure().svg().unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
