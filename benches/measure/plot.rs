//! Draws the plots as SVG.

use std::path::Path;

use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 500);

/// Draws the share of jobs that started within a number of milliseconds.
pub fn shares(file: &Path, rows: &[(String, Vec<f64>)]) {
    let most = rows.iter().flat_map(|(_, late)| late).copied().fold(1.0, f64::max);
    let root = canvas(file);
    let mut chart = ChartBuilder::on(&root)
        .margin(15)
        .set_all_label_area_size(40)
        .build_cartesian_2d(0.0..most * 1.02, 0.0..1.0)
        .unwrap();
    chart
        .configure_mesh()
        .x_desc("due → start event, ms")
        .y_desc("share of the jobs")
        .draw()
        .unwrap();
    for (index, (name, late)) in rows.iter().enumerate() {
        let mut late = late.clone();
        late.sort_by(f64::total_cmp);
        let share = |n: usize| (n + 1) as f64 / late.len() as f64;
        let points: Vec<(f64, f64)> =
            late.iter().enumerate().map(|(n, late)| (*late, share(n))).collect();
        let style = Palette99::pick(index).stroke_width(2);
        let line = chart.draw_series(LineSeries::new(points, style)).unwrap();
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    let labels = chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK)
        .draw();
    labels.unwrap();
    root.present().unwrap();
}

/// A name with its points.
pub type Line = (String, Vec<(f64, f64)>);

/// Draws jobs per second: the engine's API by the number of simultaneous starts, and each subject
/// as a level line.
pub fn rates(file: &Path, search: Vec<Line>, rows: &[(String, f64)]) {
    let tried = || search.iter().flat_map(|(_, points)| points);
    let most = tried()
        .map(|(_, rate)| *rate)
        .chain(rows.iter().map(|(_, rate)| *rate))
        .fold(1.0, f64::max)
        * 1.1;
    let last = tried().map(|(starts, _)| *starts).fold(2.0, f64::max);
    let root = canvas(file);
    let mut chart = ChartBuilder::on(&root)
        .margin(15)
        .set_all_label_area_size(40)
        .build_cartesian_2d((1.0..last).log_scale().base(2.0), 0.0..most)
        .unwrap();
    chart.configure_mesh().x_desc("starts at once").y_desc("jobs a second").draw().unwrap();
    let rows = rows.iter().map(|(name, rate)| (name.clone(), vec![(1.0, *rate), (last, *rate)]));
    let lines = search.into_iter().chain(rows);
    for (index, (name, points)) in lines.enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        let line = chart.draw_series(LineSeries::new(points, style)).unwrap();
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    let labels = chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .border_style(BLACK)
        .draw();
    labels.unwrap();
    root.present().unwrap();
}

/// Draws quantities that grow with the number of jobs, on logarithmic axes.
pub fn growth(file: &Path, x: &str, y: &str, lines: &[(String, Vec<(f64, f64)>)]) {
    let points = || lines.iter().flat_map(|(_, points)| points).copied();
    let range = |of: fn((f64, f64)) -> f64| {
        let (least, most) = points()
            .map(of)
            .fold((f64::MAX, 0.0), |(least, most), v| (f64::min(least, v), f64::max(most, v)));
        least / 1.5..most * 1.5
    };
    let root = canvas(file);
    let mut chart = ChartBuilder::on(&root)
        .margin(15)
        .set_all_label_area_size(50)
        .build_cartesian_2d(range(|(x, _)| x).log_scale(), range(|(_, y)| y).log_scale())
        .unwrap();
    chart.configure_mesh().x_desc(x).y_desc(y).draw().unwrap();
    for (index, (name, points)) in lines.iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        let line = chart.draw_series(LineSeries::new(points.clone(), style).point_size(3)).unwrap();
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    let labels = chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .draw();
    labels.unwrap();
    root.present().unwrap();
}

fn canvas(file: &Path) -> DrawingArea<SVGBackend<'_>, plotters::coord::Shift> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).unwrap();
    }
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE).unwrap();
    root
}
