//! The output of commands: tables and lines for people, one JSON document for programs.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde_json::{Value, json};
use tidegate_core::ByteSize;

use crate::error::{CommandError, CommandResult, ErrorKind};

/// The reader of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A person: tables and sentences.
    Person,
    /// A program: exactly one JSON document.
    Program,
}

/// Colours in the output: on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Colours are written.
    On,
    /// Plain text.
    Off,
}

impl Colour {
    /// Colours only for a person at a terminal who has not set `NO_COLOR` (<https://no-color.org>:
    /// any value that is not empty counts).
    pub fn decide(reader: Reader, is_terminal: bool, no_color: Option<&str>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        match (reader, is_terminal, refused) {
            (Reader::Person, true, false) => Self::On,
            _ => Self::Off,
        }
    }
}

/// The colour of a word that carries a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Went well.
    Good,
    /// Needs a look.
    Caution,
    /// Went wrong.
    Bad,
    /// A heading.
    Strong,
    /// Less important.
    Faint,
}

/// The output of a command.
#[derive(Debug)]
pub struct Output {
    reader: Reader,
    colour: Colour,
    redraws: bool,
    /// A program gets exactly one document, also when the command fails after writing it.
    documented: Cell<bool>,
}

impl Output {
    /// Decides from the `--json` flag, the terminal and the environment.
    pub fn new(reader: Reader) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let no_color = std::env::var("NO_COLOR").ok();
        Self {
            reader,
            colour: Colour::decide(reader, is_terminal, no_color.as_deref()),
            redraws: is_terminal && reader == Reader::Person,
            documented: Cell::new(false),
        }
    }

    /// The reader of standard output.
    pub fn reader(&self) -> Reader {
        self.reader
    }

    /// Returns true if written lines can be overwritten.
    pub fn redraws(&self) -> bool {
        self.redraws
    }

    /// Writes a line for a person; writes nothing for a program.
    pub fn line(&self, text: impl AsRef<str>) -> CommandResult {
        match self.reader {
            Reader::Person => write_stdout(&format!("{}\n", text.as_ref())),
            Reader::Program => Ok(()),
        }
    }

    /// Writes a table for a person; writes nothing for a program.
    pub fn table(&self, table: &Table) -> CommandResult {
        self.line(table.trim_fmt())
    }

    /// Writes the one JSON document for a program; writes nothing for a person.
    pub fn document(&self, document: &Value) -> CommandResult {
        match self.reader {
            Reader::Person => Ok(()),
            Reader::Program => {
                self.documented.set(true);
                write_stdout(&format!("{document:#}\n"))
            }
        }
    }

    /// Writes the error that ends the command. A program that got no document yet gets the error
    /// as one, in the envelope of the service.
    pub fn failure(&self, error: &CommandError) -> CommandResult {
        match error.kind() {
            ErrorKind::ReaderGone => return Ok(()),
            // "Nothing to offer" is the usual answer and not an error.
            ErrorKind::NothingToOffer | ErrorKind::NotAllCarried => self.note(error.to_string()),
            _ => self.note(format!("error: {error}")),
        }
        match self.documented.get() {
            true => Ok(()),
            false => self.document(&json!({"error": {"code": error.code(), "message": error.sentence()}})),
        }
    }

    /// Writes text as it is, without a line end.
    pub fn raw(&self, text: &str) -> CommandResult {
        write_stdout(text)
    }

    /// Writes a note to standard error, so that pipes stay clean.
    pub fn note(&self, text: impl AsRef<str>) {
        // If standard error is closed, the note is lost.
        let _ = writeln!(io::stderr(), "{}", text.as_ref());
    }

    /// Colours a word, if colours are on.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Caution => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        match self.colour {
            Colour::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Off => text.to_owned(),
        }
    }

    /// The state of an update as the end of a sentence: `active`, `a draft`.
    pub fn state(&self, state: &str) -> String {
        match state {
            "draft" => self.paint(Tone::Caution, "a draft"),
            _ => self.paint_state(&clean(state)),
        }
    }

    /// Colours the state of an update.
    pub fn paint_state(&self, state: &str) -> String {
        match state {
            "active" | "completed" => self.paint(Tone::Good, state),
            "paused" | "draft" => self.paint(Tone::Caution, state),
            "aborted" | "withdrawn" => self.paint(Tone::Bad, state),
            _ => state.to_owned(),
        }
    }
}

fn write_stdout(text: &str) -> CommandResult {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|cause| match cause.kind() {
        io::ErrorKind::BrokenPipe => CommandError::reader_gone(),
        _ => CommandError::failed("output_error", format!("cannot write the output: {cause}")).because(cause),
    })
}

/// A line under the header and no other: lines between rows are noise in a long table.
const HEADER_LINE_ONLY: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with a header, in the one style we use. Columns in `numbers` are aligned to the right.
pub fn table(header: &[&str], numbers: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(HEADER_LINE_ONLY).set_header(header);
    for &index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Makes text that came from devices or people safe to show: control characters (which could move
/// the cursor or recolour the terminal) become `\u{…}`.
pub fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped: Box<dyn Iterator<Item = char>> =
                if is_unsafe_to_show(c) { Box::new(c.escape_unicode()) } else { Box::new(std::iter::once(c)) };
            escaped
        })
        .collect()
}

/// Control characters, and the marks that reverse the direction of the text around them.
fn is_unsafe_to_show(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A JSON value as a person writes it: strings without quotes, everything else compact.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

/// A number of bytes for people: `1.5 MiB`.
pub fn bytes(size_bytes: u64) -> String {
    ByteSize(size_bytes).to_string()
}

/// The first `length` characters of an identifier or checksum, for tables.
pub fn shortened(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", clean(text.get(..end).unwrap_or(text))),
        None => clean(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_a_person_at_a_terminal_who_did_not_refuse_them() {
        let check = |reader, is_terminal, no_color, expected| {
            assert_eq!(Colour::decide(reader, is_terminal, no_color), expected);
        };
        check(Reader::Person, true, None, Colour::On);
        check(Reader::Person, true, Some(""), Colour::On);
        check(Reader::Person, true, Some("1"), Colour::Off);
        check(Reader::Person, false, None, Colour::Off);
        check(Reader::Program, true, None, Colour::Off);
    }

    #[test]
    fn a_table_has_one_line_and_numbers_to_the_right() {
        let mut table = table(&["update", "devices"], &[1]);
        table.add_row(["2.0.0", "7"]).add_row(["1.10.0-rc.1", "1200"]);
        let expected = concat!(
            " update        devices\n",
            "───────────────────────\n",
            " 2.0.0               7\n",
            " 1.10.0-rc.1      1200",
        );
        assert_eq!(table.trim_fmt(), expected);
    }

    #[test]
    fn text_from_a_device_cannot_drive_the_terminal() {
        assert_eq!(clean("red \x1b[31m\nline"), "red \\u{1b}[31m\\u{a}line");
        assert_eq!(clean("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(clean("Zürich ✓"), "Zürich ✓");
    }

    #[test]
    fn long_identifiers_are_shortened_and_short_ones_are_not() {
        assert_eq!(shortened("0123456789abcdef", 8), "01234567…");
        assert_eq!(shortened("01234567", 8), "01234567");
    }
}
