//! Progress bars on standard error; invisible when that is not a terminal.

use std::io::{self, Read};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for `size_bytes` bytes with a label.
pub fn bar(label: &str, size_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(size_bytes), ProgressDrawTarget::stderr());
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(label.to_owned());
    bar
}

/// A bar for `total` things, with their name.
pub fn count(label: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{elapsed} {wide_bar} {human_pos} of {human_len} {msg}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(label.to_owned());
    bar
}

/// A line of text that can change.
pub fn line() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    bar
}

/// A reader that moves a bar along.
pub struct Counted<'a, R> {
    inner: R,
    bar: &'a ProgressBar,
}

impl<'a, R> Counted<'a, R> {
    /// Counts the bytes read from `inner` on `bar`.
    pub fn new(inner: R, bar: &'a ProgressBar) -> Self {
        Self { inner, bar }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bar.inc(length as u64);
        Ok(length)
    }
}
