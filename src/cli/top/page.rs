//! The page of `landline top`: the terminal's other screen, drawn anew at each look.

use std::io::{self, Write, stdout};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};

use super::sample::Grouping;
use super::{Watch, lines};

/// The terminal as the page needs it; as it was before once this is dropped.
struct Screen;

impl Screen {
    fn take() -> io::Result<Screen> {
        terminal::enable_raw_mode()?;
        let screen = Screen;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// What somebody wants who has pressed a key.
enum Wish {
    End,
    Show(Grouping),
    Draw,
}

pub(super) fn show(watch: &mut Watch, interval: Duration, asked: Option<Grouping>) -> io::Result<()> {
    let _screen = Screen::take()?;
    let mut grouping = asked;
    loop {
        let next = Instant::now() + interval;
        draw(watch, grouping.unwrap_or_else(|| watch.grouping()))?;
        while let Some(wish) = wish_before(next)? {
            match wish {
                Wish::End => return Ok(()),
                Wish::Show(wanted) => grouping = Some(wanted),
                Wish::Draw => {}
            }
            draw(watch, grouping.unwrap_or_else(|| watch.grouping()))?;
        }
        watch.look();
    }
}

/// The next wish; `None` when it is time to look again.
fn wish_before(next: Instant) -> io::Result<Option<Wish>> {
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() || !poll(left)? {
            return Ok(None);
        }
        match read()? {
            Event::Resize(..) => return Ok(Some(Wish::Draw)),
            Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(Some(Wish::End)),
                KeyCode::Char('q') | KeyCode::Esc => return Ok(Some(Wish::End)),
                KeyCode::Char('h') => return Ok(Some(Wish::Show(Grouping::Hosts))),
                KeyCode::Char('p') => return Ok(Some(Wish::Show(Grouping::Programs))),
                _ => {}
            },
            _ => {}
        }
    }
}

fn draw(watch: &Watch, grouping: Grouping) -> io::Result<()> {
    let name = watch.place.net.as_deref().map_or("the machine's own net".to_owned(), |net| format!("the net {net}"));
    let by = if grouping == Grouping::Hosts { "hosts" } else { "programs" };
    let mut text = format!("landline top: {name}, {by}   (h: hosts, p: programs, q: quit)\n").into_bytes();
    match watch.sample(grouping) {
        None if watch.arena.is_some() => text.extend(b"..."),
        sample => lines(&mut text, sample.as_ref())?,
    }
    let (width, height) = terminal::size()?;
    let text = String::from_utf8_lossy(&text);
    let mut out = stdout().lock();
    queue!(out, MoveTo(0, 0))?;
    for (row, line) in text.lines().take(height.into()).enumerate() {
        let line: String = line.chars().take(width.into()).collect();
        // The table's header stands out.
        let attribute = if row == 3 { Attribute::Reverse } else { Attribute::Reset };
        queue!(out, MoveTo(0, row as u16), SetAttribute(attribute), Print(line), SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))?;
    }
    let drawn = text.lines().count().min(height.into()) as u16;
    if drawn < height {
        queue!(out, MoveTo(0, drawn), Clear(ClearType::FromCursorDown))?;
    }
    out.flush()
}
