//! A chart as a list of shapes in pixels, and the one place that draws it, as SVG and as PNG.
//!
//! Charts are laid out as plain data, so that a test can look for text that overlaps or is cut off. Text is measured
//! with the font in `results/fonts`, which is also the one that PNGs are drawn with; nothing of the system is needed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::prelude::{
    DrawingArea, DrawingBackend, FontStyle, IntoDrawingArea, IntoFont, RGBAColor, ShapeStyle, TextStyle, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontFamily, register_font};

/// How a back end differs from the layout.
struct BackEnd {
    /// Its pixels for each pixel of the layout.
    scale: f64,
    /// What a font size is multiplied with.
    font_scale: f64,
    /// How far down a text must be moved to be centred, as a share of its size.
    lift: f64,
}

/// The SVG back end of plotters divides font sizes by 1.24, while PNGs are drawn with a size that counts from the
/// font's ascent to its descent, 1.164 em. With this factor both have the same em, so what was measured fits in both.
const SVG: BackEnd = BackEnd {
    scale: 1.0,
    font_scale: 1.24 / 1.164,
    lift: 0.06,
};

/// Twice the size stays sharp on dense screens. Centring is by line height there, which leaves texts too high.
const PNG: BackEnd = BackEnd {
    scale: 2.0,
    font_scale: 1.0,
    lift: 0.14,
};

const FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans.ttf");
const FONT_NAME: &str = "sans-serif";

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// The embedded font was refused.
    #[error("the embedded font DejaVuSans.ttf cannot be read")]
    Font,
    /// The back end failed.
    #[error("cannot draw {path}: {reason}")]
    Draw {
        /// The file.
        path: PathBuf,
        /// What the back end said.
        reason: String,
    },
}

/// A colour with its opacity, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Colour(pub u8, pub u8, pub u8, pub f64);

impl Colour {
    pub fn faded(self, opacity: f64) -> Self {
        Self(self.0, self.1, self.2, opacity)
    }

    fn plotters(self) -> RGBAColor {
        RGBAColor(self.0, self.1, self.2, self.3)
    }
}

/// Where the given point of a text lies; the vertical position is always its middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// The shape of a point, so that colours are not all that tells series apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
}

/// One shape; coordinates and widths in pixels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Line {
        points: Vec<(f64, f64)>,
        colour: Colour,
        width: f64,
    },
    Rectangle {
        from: (f64, f64),
        to: (f64, f64),
        colour: Colour,
    },
    Marker {
        at: (f64, f64),
        radius: f64,
        marker: Marker,
        colour: Colour,
    },
    Text {
        at: (f64, f64),
        size: f64,
        anchor: Anchor,
        colour: Colour,
        text: String,
    },
}

/// A laid-out chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    pub width: f64,
    pub height: f64,
    pub shapes: Vec<Shape>,
}

impl Scene {
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            shapes: Vec::new(),
        }
    }

    pub fn line(&mut self, points: &[(f64, f64)], colour: Colour, width: f64) {
        self.shapes.push(Shape::Line {
            points: points.to_vec(),
            colour,
            width,
        });
    }

    /// A straight line of dashes, 5 pixels on and 4 off.
    pub fn dashes(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour, width: f64) {
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let at = |distance: f64| {
            let share = (distance / length).min(1.0);
            (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1))
        };
        let mut distance = 0.0;
        while distance < length {
            self.line(&[at(distance), at(distance + 5.0)], colour, width);
            distance += 9.0;
        }
    }

    pub fn rectangle(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour) {
        self.shapes.push(Shape::Rectangle { from, to, colour });
    }

    pub fn marker(&mut self, at: (f64, f64), radius: f64, marker: Marker, colour: Colour) {
        self.shapes.push(Shape::Marker {
            at,
            radius,
            marker,
            colour,
        });
    }

    pub fn text(&mut self, at: (f64, f64), size: f64, anchor: Anchor, colour: Colour, text: impl Into<String>) {
        self.shapes.push(Shape::Text {
            at,
            size,
            anchor,
            colour,
            text: text.into(),
        });
    }

    /// The chart as an SVG document.
    pub fn svg(&self) -> Result<String, ChartError> {
        font()?;
        let mut text = String::new();
        let size = (self.width.ceil() as u32, self.height.ceil() as u32);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        self.draw(&area, &SVG).map_err(|reason| ChartError::Draw {
            path: "(svg)".into(),
            reason,
        })?;
        drop(area);
        Ok(text)
    }

    /// Writes the chart as PNG.
    pub fn write_png(&self, path: &Path) -> Result<(), ChartError> {
        font()?;
        let size = (
            (PNG.scale * self.width).ceil() as u32,
            (PNG.scale * self.height).ceil() as u32,
        );
        let area = BitMapBackend::new(path, size).into_drawing_area();
        self.draw(&area, &PNG).map_err(|reason| ChartError::Draw {
            path: path.to_owned(),
            reason,
        })
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, back_end: &BackEnd) -> Result<(), String> {
        let scale = back_end.scale;
        let failed = |error: plotters::drawing::DrawingAreaErrorKind<DB::ErrorType>| error.to_string();
        area.fill(&WHITE).map_err(failed)?;
        let pixel = |(x, y): (f64, f64)| ((scale * x).round() as i32, (scale * y).round() as i32);
        for shape in &self.shapes {
            match shape {
                Shape::Line { points, colour, width } => {
                    let style = ShapeStyle {
                        color: colour.plotters(),
                        filled: false,
                        stroke_width: (scale * width).round().max(1.0) as u32,
                    };
                    let points: Vec<(i32, i32)> = points.iter().copied().map(pixel).collect();
                    area.draw(&PathElement::new(points, style)).map_err(failed)?;
                }
                Shape::Rectangle { from, to, colour } => {
                    let style = ShapeStyle {
                        color: colour.plotters(),
                        filled: true,
                        stroke_width: 0,
                    };
                    area.draw(&Rectangle::new([pixel(*from), pixel(*to)], style))
                        .map_err(failed)?;
                }
                Shape::Marker {
                    at,
                    radius,
                    marker,
                    colour,
                } => {
                    let style = ShapeStyle {
                        color: colour.plotters(),
                        filled: true,
                        stroke_width: 0,
                    };
                    match outline(*marker, *at, *radius) {
                        None => {
                            let radius = (scale * radius).round().max(1.0) as i32;
                            area.draw(&Circle::new(pixel(*at), radius, style)).map_err(failed)?;
                        }
                        Some(points) => {
                            let points: Vec<(i32, i32)> = points.into_iter().map(pixel).collect();
                            area.draw(&Polygon::new(points, style)).map_err(failed)?;
                        }
                    }
                }
                Shape::Text {
                    at,
                    size,
                    anchor,
                    colour,
                    text,
                } => {
                    let horizontal = match anchor {
                        Anchor::Start => HPos::Left,
                        Anchor::Middle => HPos::Center,
                        Anchor::End => HPos::Right,
                    };
                    let colour = colour.plotters();
                    let style = TextStyle::from((FONT_NAME, scale * back_end.font_scale * size).into_font())
                        .pos(Pos::new(horizontal, VPos::Center))
                        .color(&colour);
                    area.draw(&Text::new(
                        text.as_str(),
                        pixel((at.0, at.1 + back_end.lift * size)),
                        style,
                    ))
                    .map_err(failed)?;
                }
            }
        }
        area.present().map_err(failed)
    }
}

/// The corners of a marker, or nothing for a circle.
fn outline(marker: Marker, (x, y): (f64, f64), radius: f64) -> Option<Vec<(f64, f64)>> {
    let corners: &[(f64, f64)] = match marker {
        Marker::Circle => return None,
        Marker::Square => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        Marker::Triangle => &[(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
        Marker::Diamond => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
        Marker::Cross => &[
            (-1.2, -0.45),
            (-0.45, -0.45),
            (-0.45, -1.2),
            (0.45, -1.2),
            (0.45, -0.45),
            (1.2, -0.45),
            (1.2, 0.45),
            (0.45, 0.45),
            (0.45, 1.2),
            (-0.45, 1.2),
            (-0.45, 0.45),
            (-1.2, 0.45),
        ],
    };
    Some(
        corners
            .iter()
            .map(|(dx, dy)| (x + radius * dx, y + radius * dy))
            .collect(),
    )
}

/// The width of a text in pixels.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let measured = font()
        .ok()
        .and_then(|()| (FONT_NAME, size).into_font().box_size(text).ok());
    // Without a font nothing is drawn at all, so the guess only keeps the layout going until the error is told.
    measured.map_or(0.6 * size * text.chars().count() as f64, |(width, _)| f64::from(width))
}

/// Registers the embedded font once; plotters would otherwise have none.
fn font() -> Result<(), ChartError> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        let name = FontFamily::from(FONT_NAME);
        register_font(name.as_str(), FontStyle::Normal, FONT).is_ok()
    });
    if *registered { Ok(()) } else { Err(ChartError::Font) }
}
