//! A [`Figure`] becomes SVG.

use std::{error::Error, fmt::Write as _};

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::{
        Cartesian2d, ChartBuilder, ChartContext, Circle, Color as _, Cross, DrawingArea, DrawingBackend,
        IntoDrawingArea as _, IntoFont as _, LineSeries, PathElement, RGBColor, Rectangle, SVGBackend, Text,
        TextStyle, TriangleMarker,
    },
};

use super::{Figure, Panel, Scale};

const WIDTH: u32 = 760;
const PANEL_HEIGHT: u32 = 240;
/// Title and legend.
const HEAD_HEIGHT: u32 = 62;
const FONT: &str = "sans-serif";
const TEXT_SIZE: u32 = 15;
const TITLE_SIZE: u32 = 19;
/// Pixels of a letter of the legend, about.
const LETTER: i32 = 7;
/// Pixels of a line with its mark in the legend.
const SAMPLE: i32 = 26;
const MARK_SIZE: i32 = 3;
/// Marks of a line at most, in all panels: more would hide it.
const MARKS: usize = 24;
/// Marks of a line in one panel at least.
const MARKS_MIN: usize = 4;
/// Attributes that the backend writes at each element although every element has them without.
const IMPLIED: [&str; 2] = [" opacity=\"1\"", " font-family=\"sans-serif\""];
/// Room for the numbers of an axis.
const LABELS: u32 = 74;

/// Colours that the style sheet replaces in the dark, so nothing else may have them.
const TEXT: RGBColor = RGBColor(0x1F, 0x23, 0x28);
const AXIS: RGBColor = RGBColor(0x6E, 0x77, 0x81);
const GRID: RGBColor = RGBColor(0xD0, 0xD7, 0xDE);
const FAULT: RGBColor = RGBColor(0xFF, 0xE2, 0xDD);
/// Each has a contrast of 3 or more with either background.
const SERIES: [RGBColor; 6] = [
    RGBColor(0x1F, 0x77, 0xD0),
    RGBColor(0xC8, 0x5A, 0x10),
    RGBColor(0x2A, 0x8A, 0x4A),
    RGBColor(0x9A, 0x5B, 0xD6),
    RGBColor(0xD0, 0x43, 0x5A),
    RGBColor(0x7A, 0x7F, 0x87),
];
const STYLE: &str = "\
text{font-family:sans-serif}\
.back{fill:#fff}\
@media (prefers-color-scheme:dark){\
.back{fill:#0d1117}\
text[fill=\"#1F2328\"]{fill:#e6edf3}\
[stroke=\"#6E7781\"]{stroke:#8b949e}\
[stroke=\"#D0D7DE\"]{stroke:#30363d}\
rect[fill=\"#FFE2DD\"]{fill:#4a1d1f}\
}";

type Area<'a, 'b> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn Error + Send + Sync>>;

pub(super) fn render(figure: &Figure) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut drawn = String::new();
    let height = HEAD_HEIGHT + PANEL_HEIGHT * u32::try_from(figure.panels.len())?;
    {
        let root = SVGBackend::with_string(&mut drawn, (WIDTH, height)).into_drawing_area();
        let (head, body) = root.split_vertically(HEAD_HEIGHT);
        draw_head(figure, &head)?;
        for (panel, area) in figure.panels.iter().zip(body.split_evenly((figure.panels.len(), 1))) {
            draw_panel(figure, panel, &area)?;
        }
        root.present()?;
    }
    let drawn = IMPLIED.iter().fold(drawn, |drawn, implied| drawn.replace(implied, ""));
    let (opening, rest) = drawn.split_once('>').ok_or("the backend wrote no element")?;
    let mut svg = format!("{opening} role=\"img\" aria-labelledby=\"title desc\">\n");
    let (title, description) = (escaped(&figure.title), escaped(&figure.description));
    writeln!(svg, "<title id=\"title\">{title}</title>\n<desc id=\"desc\">{description}</desc>")?;
    write!(svg, "<style>{STYLE}</style>\n<rect class=\"back\" width=\"100%\" height=\"100%\"/>{rest}")?;
    Ok(svg)
}

fn draw_head(figure: &Figure, area: &Area<'_, '_>) -> Drawn {
    area.draw(&Text::new(figure.title.clone(), (10, 8), text(TITLE_SIZE)))?;
    let mut left = 12;
    for (index, name) in figure.names().into_iter().enumerate() {
        let (middle, end) = ((left + SAMPLE / 2, 44), (left + SAMPLE, 44));
        area.draw(&PathElement::new([(left, 44), end], color(index).stroke_width(2)))?;
        draw_mark(index, middle, area)?;
        area.draw(&Text::new(name.to_owned(), (left + SAMPLE + 6, 37), text(TEXT_SIZE)))?;
        left += SAMPLE + 22 + LETTER * i32::try_from(name.chars().count())?;
    }
    Ok(())
}

fn draw_panel(figure: &Figure, panel: &Panel, area: &Area<'_, '_>) -> Drawn {
    let points = || panel.series.iter().flat_map(|series| &series.points);
    let (x, y) = match figure.x.places.len() {
        0 => (0.0..points().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max), figure.scale.range(points())),
        places => (-0.3..places as f64 - 0.7, figure.scale.range(points())),
    };
    let (bottom, top) = (y.start, y.end);
    let mut chart: Chart<'_, '_> = ChartBuilder::on(area)
        .margin_left(8)
        // Half of the last number of the axis.
        .margin_right(32)
        .margin_top(6)
        .margin_bottom(6)
        .caption(panel.title.clone(), text(TEXT_SIZE + 1))
        .x_label_area_size(42)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(x, y)?;
    for [from, to] in &panel.faults {
        chart.draw_series([Rectangle::new([(*from, bottom), (*to, top)], FAULT.filled())])?;
    }
    let places = &figure.x.places;
    let of_place = |at: &f64| {
        if places.is_empty() {
            return number(*at);
        }
        let is_place = (at - at.round()).abs() < 1e-6 && *at > -0.5;
        places.get(at.round().max(0.0) as usize).filter(|_| is_place).cloned().unwrap_or_default()
    };
    let of_height = |height: &f64| figure.scale.label(*height);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(GRID.mix(0.0))
        .bold_line_style(GRID)
        .axis_style(AXIS)
        .label_style(text(TEXT_SIZE))
        .axis_desc_style(text(TEXT_SIZE))
        .x_desc(figure.x.label.clone())
        .y_desc(figure.y.clone())
        .x_labels(if places.is_empty() { 8 } else { places.len() * 2 })
        .y_labels(6)
        .x_label_formatter(&of_place)
        .y_label_formatter(&of_height)
        .draw()?;
    let (names, marks) = (figure.names(), (MARKS / figure.panels.len()).max(MARKS_MIN));
    for series in &panel.series {
        let index = names.iter().position(|name| *name == series.name).unwrap_or_default();
        let points: Vec<(f64, f64)> =
            series.points.iter().map(|(x, y)| (*x, figure.scale.height(*y))).collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), color(index).stroke_width(2)))?;
        for point in points.iter().step_by(points.len().div_ceil(marks).max(1)) {
            let at = chart.backend_coord(point);
            let (left, above) = area.get_base_pixel();
            draw_mark(index, (at.0 - left, at.1 - above), area)?;
        }
    }
    Ok(())
}

/// The mark by which a line is told from the others without its colour.
fn draw_mark<DB: DrawingBackend>(index: usize, at: (i32, i32), area: &DrawingArea<DB, Shift>) -> Drawn
where
    DB::ErrorType: 'static,
{
    let color = color(index);
    match index % 4 {
        0 => area.draw(&Circle::new(at, MARK_SIZE, color.filled()))?,
        1 => area.draw(&TriangleMarker::new(at, MARK_SIZE + 2, color.filled()))?,
        2 => area.draw(&Cross::new(at, MARK_SIZE + 1, color.stroke_width(2)))?,
        _ => {
            let (low, high) = ((at.0 - MARK_SIZE, at.1 - MARK_SIZE), (at.0 + MARK_SIZE, at.1 + MARK_SIZE));
            area.draw(&Rectangle::new([low, high], color.filled()))?;
        }
    }
    Ok(())
}

fn color(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()]
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&TEXT)
}

/// A number of an axis, with as many digits as it needs.
fn number(number: f64) -> String {
    let digits = if number.fract().abs() < 1e-6 {
        0
    } else if (number * 10.0).fract().abs() < 1e-6 {
        1
    } else {
        2
    };
    let text = format!("{number:.digits$}");
    let Some((whole, "")) = text.split_once('.').or(Some((&text, ""))) else { return text };
    let mut spaced = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0
            && (whole.len() - index).is_multiple_of(3)
            && whole.starts_with(|first: char| first.is_ascii_digit())
        {
            spaced.push(',');
        }
        spaced.push(digit);
    }
    spaced
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Scale {
    /// The place of a value.
    fn height(self, value: f64) -> f64 {
        match self {
            Self::FromZero => value,
            Self::Decades => value.max(f64::MIN_POSITIVE).log10(),
        }
    }

    fn range<'a>(self, points: impl Iterator<Item = &'a (f64, f64)>) -> std::ops::Range<f64> {
        let (least, most) = points
            .map(|(_, y)| self.height(*y))
            .fold((f64::MAX, f64::MIN), |(least, most), y| (least.min(y), most.max(y)));
        match self {
            _ if least > most => 0.0..1.0,
            Self::FromZero => 0.0..most.max(f64::MIN_POSITIVE) * 1.08,
            Self::Decades => least.floor()..most.ceil().max(least.floor() + 1.0),
        }
    }

    /// The number beside a line of the mesh; nothing between two decades.
    fn label(self, height: f64) -> String {
        match self {
            Self::FromZero => number(height),
            Self::Decades if (height - height.round()).abs() < 1e-6 => {
                number(10_f64.powi(height.round() as i32))
            }
            Self::Decades => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Series, tests::figure},
        *,
    };

    #[test]
    fn a_figure_is_the_same_bytes_each_time_small_and_one_xml_document() {
        let svg = render(&figure()).unwrap();
        assert_eq!(svg, render(&figure()).unwrap());
        assert!(svg.len() < 60_000, "{}", svg.len());
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert_eq!(svg.matches("<svg").count(), 1);
    }

    #[test]
    fn a_figure_of_every_scenario_of_an_audit_is_small() {
        let points: Vec<(f64, f64)> =
            (0..60).map(|at| (f64::from(at) / 2.0, f64::from(at * 37 % 900 + 1))).collect();
        let series =
            ["p50", "p99", "slowest"].map(|name| Series { name: name.to_owned(), points: points.clone() });
        let panel =
            Panel { title: "a scenario".to_owned(), series: series.to_vec(), faults: vec![[9.0, 12.0]] };
        let svg = render(&Figure { panels: vec![panel; 10], ..figure() }).unwrap();
        assert!(svg.len() < 60_000, "{}", svg.len());
    }

    #[test]
    fn a_screen_reader_is_given_the_title_and_what_is_to_be_seen() {
        let svg = render(&figure()).unwrap();
        assert!(svg.contains(r#"role="img" aria-labelledby="title desc">"#));
        assert!(svg.contains(r#"<title id="title">Latency &lt;over&gt; time &amp; more</title>"#));
        assert!(svg.contains(r#"<desc id="desc">The line of p99 lies above that of p50.</desc>"#));
    }

    #[test]
    fn every_colour_that_is_not_of_a_series_is_replaced_in_the_dark() {
        let svg = render(&figure()).unwrap();
        let (style, drawn) = svg.split_once("</style>").unwrap();
        for color in drawn.split(['"']).filter(|value| value.len() == 7 && value.starts_with('#')) {
            let is_of_series = SERIES.iter().any(|series| hex(*series) == *color);
            assert!(is_of_series || style.contains(color), "{color}");
        }
        for color in [TEXT, AXIS, GRID, FAULT] {
            assert!(drawn.contains(&hex(color)) && style.contains(&hex(color)), "{}", hex(color));
        }
    }

    fn hex(RGBColor(red, green, blue): RGBColor) -> String {
        format!("#{red:02X}{green:02X}{blue:02X}")
    }

    /// The quotient of WCAG 2.2.
    fn contrast(one: RGBColor, other: RGBColor) -> f64 {
        let luminance = |RGBColor(red, green, blue): RGBColor| {
            let [red, green, blue] = [red, green, blue].map(|part| {
                let part = f64::from(part) / 255.0;
                if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        };
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        (one / other).max(other / one)
    }

    #[test]
    fn lines_and_text_stand_out_from_both_backgrounds() {
        let (light, dark) = (RGBColor(0xFF, 0xFF, 0xFF), RGBColor(0x0D, 0x11, 0x17));
        for series in SERIES {
            assert!(contrast(series, light) >= 3.0, "{} {}", hex(series), contrast(series, light));
            assert!(contrast(series, dark) >= 3.0, "{} {}", hex(series), contrast(series, dark));
        }
        assert!(contrast(TEXT, light) >= 4.5 && contrast(RGBColor(0xE6, 0xED, 0xF3), dark) >= 4.5);
        assert!(contrast(TEXT, FAULT) >= 4.5);
    }

    #[test]
    fn numbers_of_an_axis_have_no_more_digits_than_they_need() {
        let numbers = [0.0, 0.25, 0.5, 7.0, 1_000.0, 250_000.0].map(number);
        assert_eq!(numbers, ["0", "0.25", "0.5", "7", "1,000", "250,000"]);
    }

    #[test]
    fn a_panel_without_a_point_and_a_line_of_one_point_are_drawn() {
        let mut figure = figure();
        figure.panels[0].series[0].points.clear();
        figure.panels[1].series.clear();
        assert!(render(&figure).unwrap().contains("</svg>"));
        figure.scale = Scale::FromZero;
        assert!(render(&figure).unwrap().contains("</svg>"));
    }
}
