//! Writes results to stdout in the form that the caller chose: tables that fit the terminal, JSON,
//! names, or texts with tabs between them for other programs.

use std::io::{IsTerminal, Write};

use chrono::{DateTime, Utc};
use comfy_table::{
    Attribute, Cell as TableCell, Color, ColumnConstraint, ContentArrangement, Row as TableRow,
    Table, presets,
};
use serde::Serialize;
use serde_json::Value;

use super::options::{ColorChoice, Format, OutputOptions};
use super::{text, words};
use crate::clock::{Clock, SystemClock};

/// The width of a table where no terminal says another.
const USUAL_WIDTH: u16 = 80;
/// The fields that a person sees first. The others follow by name.
const FIRST_FIELDS: [&str; 6] = ["id", "name", "job_name", "status", "says", "error"];

/// Prints a line to stdout, like `println!`. A reader that closed the pipe ends the process
/// quietly.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::display::write(&format!("{}\n", format_args!($($text)*))) };
}
pub(super) use say;

/// Writes text to stdout. Ends the process with exit code 0 if the reader closed the pipe, as
/// `head` does.
pub(super) fn write(text: impl AsRef<[u8]>) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("tidetable: cannot write to stdout: {error}");
            std::process::exit(1);
        }
        Ok(()) => {}
    }
}

/// The form of everything that a command prints.
#[derive(Clone, Debug)]
pub(super) struct Display {
    format: Option<Format>,
    /// True if stdout is a terminal.
    pub(super) is_terminal: bool,
    /// True if stdout gets colours.
    pub(super) has_colours: bool,
    /// True if nothing is shortened.
    is_full: bool,
    now: DateTime<Utc>,
}

/// A list to print, for a person and for programs.
pub(super) struct Sheet {
    /// The titles of the columns for programs.
    pub(super) tsv: &'static [&'static str],
    /// The columns for a person.
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Row>,
}

/// A column of a table for a person.
pub(super) enum Column {
    /// A column that is never shortened.
    Whole(&'static str),
    /// A column that is shortened until the table fits.
    Flexible(&'static str),
    /// A column of the wide table only.
    Wide(&'static str),
}

/// An entry of a list.
pub(super) struct Row {
    /// The id or the name, in full.
    pub(super) name: String,
    pub(super) json: Value,
    /// The texts for programs.
    pub(super) tsv: Vec<String>,
    /// The texts for a person.
    pub(super) cells: Vec<Cell>,
}

/// A text with a colour for a person.
pub(super) struct Cell {
    text: String,
    colour: Option<Color>,
}

impl Display {
    pub(super) fn of(options: &OutputOptions) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self {
            format: options.format(),
            is_terminal,
            has_colours: has_colours(options.color, is_terminal),
            is_full: options.full,
            now: SystemClock.now(),
        }
    }

    /// Returns the time of the command, from which distances count.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Returns whether the caller chose a form of JSON.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.format, Some(Format::Json | Format::Ndjson))
    }

    /// Returns whether only ids or names are printed.
    pub(super) fn is_names(&self) -> bool {
        self.format == Some(Format::Name)
    }

    /// Returns the form of a list.
    fn list_format(&self) -> Format {
        self.format.unwrap_or(if self.is_terminal { Format::Table } else { Format::Tsv })
    }

    /// Returns whether a person reads the output.
    pub(super) fn is_for_person(&self) -> bool {
        matches!(self.list_format(), Format::Table | Format::Wide)
    }

    /// Prints a list. `whole` is the answer that it was made from.
    ///
    /// # Errors
    /// Fails if the answer cannot be written as JSON.
    pub(super) fn list(&self, whole: &impl Serialize, sheet: &Sheet) -> anyhow::Result<()> {
        match self.list_format() {
            Format::Json => self.json(whole)?,
            Format::Ndjson => sheet.rows.iter().try_for_each(|row| self.json(&row.json))?,
            Format::Name => sheet.rows.iter().for_each(|row| say!("{}", text::clean(&row.name))),
            Format::Tsv => {
                say!("{}", sheet.tsv.join("\t"));
                sheet.rows.iter().for_each(|row| say!("{}", tabbed(&row.tsv)));
            }
            form @ (Format::Table | Format::Wide) => say!("{}", self.table(sheet, form)),
        }
        Ok(())
    }

    /// Prints one entry of a list that goes on, as a line.
    ///
    /// # Errors
    /// Fails if the entry cannot be written as JSON.
    pub(super) fn line(&self, row: &Row) -> anyhow::Result<()> {
        if self.is_json() {
            say!("{}", text::clean_json(&serde_json::to_string(&row.json)?));
        } else if self.is_names() {
            say!("{}", text::clean(&row.name));
        } else {
            say!("{}", tabbed(&row.tsv));
        }
        Ok(())
    }

    /// Returns the same form with the time of now.
    pub(super) fn renewed(&self) -> Self {
        Self { now: SystemClock.now(), ..self.clone() }
    }

    /// Prints one result: its name, its JSON, or a sentence about it.
    ///
    /// # Errors
    /// Fails if the result cannot be written as JSON.
    pub(super) fn one(
        &self,
        value: &impl Serialize,
        name: &str,
        sentence: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Some(Format::Json | Format::Ndjson) => self.json(value)?,
            Some(Format::Name) => say!("{}", text::clean(name)),
            _ => say!("{}", text::clean_lines(&sentence())),
        }
        Ok(())
    }

    /// Prints all fields of an object: a table for a person, JSON elsewhere.
    ///
    /// # Errors
    /// Fails if the object cannot be written as JSON.
    pub(super) fn fields(&self, value: &impl Serialize, name: &str) -> anyhow::Result<()> {
        match self.format {
            None if !self.is_terminal => self.json(value)?,
            Some(Format::Json | Format::Ndjson) => self.json(value)?,
            Some(Format::Name) => say!("{}", text::clean(name)),
            form => {
                if let Value::Object(fields) = serde_json::to_value(value)? {
                    let fields = fields.into_iter().filter(|(_, value)| !is_empty(value));
                    let mut rows: Vec<[String; 2]> =
                        fields.map(|(name, value)| [name, flat(&value)]).collect();
                    rows.sort_by_key(|[name, _]| {
                        FIRST_FIELDS.iter().position(|first| first == name).unwrap_or(usize::MAX)
                    });
                    match form {
                        Some(Format::Tsv) => rows.iter().for_each(|row| say!("{}", tabbed(row))),
                        _ => say!("{}", self.pairs(&rows)),
                    }
                }
            }
        }
        Ok(())
    }

    /// Prints JSON: a line with `ndjson`, else indented.
    ///
    /// # Errors
    /// Fails if the value cannot be written as JSON.
    pub(super) fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        let json = match self.format {
            Some(Format::Ndjson) => serde_json::to_string(value)?,
            _ => serde_json::to_string_pretty(value)?,
        };
        say!("{}", text::clean_json(&json));
        Ok(())
    }

    /// Returns a time for a person: its distance from now, or the time itself with `--full`.
    pub(super) fn time(&self, at: Option<&str>) -> String {
        match at {
            None => String::new(),
            Some(at) if self.is_full => at.to_owned(),
            Some(at) => words::distance_of(at, self.now),
        }
    }

    /// Returns the number of digits at the end of these ids that a person gets to see.
    pub(super) fn id_digits<'t>(&self, ids: impl Iterator<Item = &'t str>) -> usize {
        if self.is_full { usize::MAX } else { words::short_length(ids) }
    }

    /// Returns a sentence in a colour, if stdout has colours. The text is cleaned.
    pub(super) fn coloured(&self, text: &str, colour: Option<Color>) -> String {
        use comfy_table::Color as C;
        let text = text::clean(text);
        let number = match colour {
            Some(C::Red) => 31,
            Some(C::Green) => 32,
            Some(C::Yellow) => 33,
            Some(C::Blue) => 34,
            Some(C::Magenta) => 35,
            Some(C::Cyan) => 36,
            Some(C::DarkGrey) => 90,
            _ => return text.into_owned(),
        };
        if self.has_colours { format!("\x1b[{number}m{text}\x1b[0m") } else { text.into_owned() }
    }

    fn table(&self, sheet: &Sheet, form: Format) -> String {
        let is_shown = |column: &Column| form == Format::Wide || !matches!(column, Column::Wide(_));
        let shown: Vec<usize> =
            (0..sheet.columns.len()).filter(|at| is_shown(&sheet.columns[*at])).collect();
        let mut table = self.new_table();
        let title = |at: &usize| match sheet.columns[*at] {
            Column::Whole(title) | Column::Flexible(title) | Column::Wide(title) => {
                TableCell::new(title).add_attribute(Attribute::Bold)
            }
        };
        table.set_header(shown.iter().map(title).collect::<Vec<_>>());
        for row in &sheet.rows {
            let cells = shown.iter().filter_map(|at| row.cells.get(*at)).map(Cell::for_table);
            let mut row = TableRow::from(cells.collect::<Vec<_>>());
            row.max_height(1);
            table.add_row(row);
        }
        if form == Format::Table && !self.is_full {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width());
            for (position, at) in shown.iter().enumerate() {
                if let (Column::Whole(_), Some(column)) =
                    (&sheet.columns[*at], table.column_mut(position))
                {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        flush_left(&mut table);
        table.trim_fmt()
    }

    fn pairs(&self, rows: &[[String; 2]]) -> String {
        let mut table = self.new_table();
        for [name, value] in rows {
            let words = match name.ends_with("_at") && !self.is_full {
                true => format!(" ({})", words::distance_of(value, self.now)),
                false => String::new(),
            };
            let value = format!("{}{words}", text::clean(value));
            let name = TableCell::new(text::clean(name)).add_attribute(Attribute::Bold);
            table.add_row(vec![name, TableCell::new(value)]);
        }
        flush_left(&mut table);
        table.trim_fmt()
    }

    fn new_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_truncation_indicator("…");
        match self.has_colours {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        table
    }
}

impl Cell {
    /// Returns a cell in a colour.
    pub(super) fn coloured(text: impl Into<String>, colour: Option<Color>) -> Self {
        Self { text: text.into(), colour }
    }

    fn for_table(&self) -> TableCell {
        let cell = TableCell::new(text::clean(&self.text));
        match self.colour {
            Some(colour) => cell.fg(colour),
            None => cell,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), colour: None }
    }
}

/// Returns a dash for a text that is missing.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// Prints the server's warnings on stderr.
pub(super) fn warnings(all: &[String]) {
    all.iter().for_each(|warning| eprintln!("warning: {}", text::clean(warning)));
}

/// Returns whether stdout gets colours. An option goes before `CLICOLOR_FORCE`, which goes before
/// `NO_COLOR` and the kind of terminal.
fn has_colours(choice: Option<ColorChoice>, is_terminal: bool) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match choice {
        Some(ColorChoice::Always) => true,
        Some(ColorChoice::Never) => false,
        Some(ColorChoice::Auto) | None => {
            let is_forced = std::env::var("CLICOLOR_FORCE")
                .is_ok_and(|value| !value.is_empty() && value != "0");
            let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
            is_forced || (is_terminal && !is_set("NO_COLOR") && !is_dumb)
        }
    }
}

/// Returns the number of lines of the terminal on stdout, if it is one.
pub(super) fn height() -> Option<usize> {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    size.map(|(_, height)| usize::from(height.0))
}

/// Returns the width of the terminal on stdout, else `COLUMNS`, else the usual width.
pub(super) fn width() -> u16 {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let of_terminal = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0);
    of_terminal.or_else(columns).filter(|width| *width > 0).unwrap_or(USUAL_WIDTH)
}

fn flush_left(table: &mut Table) {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
}

fn tabbed(texts: &[String]) -> String {
    texts.iter().map(|cell| text::clean(cell)).collect::<Vec<_>>().join("\t")
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns a text without quotes, and other values as JSON.
fn flat(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
