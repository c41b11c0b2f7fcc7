//! `landline man`: one manual page for the command and its subcommands, made from the parser.

use std::io;

use clap::Command;
use clap_mangen::Man;

use super::ENVIRONMENT;
use super::output::Output;

/// What the parser does not know.
const REST: &str = r#".SH "EXIT STATUS"
\fBlandline run\fR ends as the program ends; it gives 126 where the program may not be run or cannot be
preloaded, 127 where it is not found, and 125 where Landline itself is at fault. \fBlandline up\fR ends as the first of its
programs that was not to end, with 128 and the number of a signal that ended all, and with 1 where a program did not become
ready. The other commands give 0 on
success, also where there is no arena, 2 for wrong usage and 1 for other errors.
.SH FILES
.TP
/dev/shm/landline\-\fIUSER\fR\-\fINET\fR\-\fIPID\fR\-v\fIN\fR
The arena: user id, network namespace, pid namespace, version of the layout. That of a private net has \fB@\fINAME\fR
after it.
.SH "SEE ALSO"
\fBss\fR(8), \fBld.so\fR(8), \fBtcp\fR(7), \fBsocket\fR(7)
"#;

pub fn render(mut out: &mut Output, mut command: Command) -> io::Result<()> {
    command.build();
    let man = Man::new(command.clone());
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    writeln!(out, ".SH SYNOPSIS")?;
    let commands = leaves(&command, "landline");
    for (_, sub) in &commands {
        writeln!(out, "{}\n.br", synopsis(sub)?)?;
    }
    man.render_description_section(&mut out)?;
    writeln!(out, ".SH COMMANDS")?;
    for (name, sub) in commands {
        writeln!(out, ".SS \"{name}\"")?;
        let man = Man::new(sub.clone());
        out.write_all(without_heading(|to| man.render_description_section(to))?.as_bytes())?;
        out.write_all(without_heading(|to| man.render_options_section(to))?.as_bytes())?;
    }
    writeln!(out, ".SH ENVIRONMENT")?;
    for (name, meaning) in ENVIRONMENT {
        writeln!(out, ".TP\n\\fB{name}\\fR\n{meaning}")?;
    }
    out.write_all(REST.as_bytes())
}

/// Every command that does something, with its whole name.
fn leaves<'a>(command: &'a Command, name: &str) -> Vec<(String, &'a Command)> {
    let subs = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let all = subs.flat_map(|sub| {
        let name = format!("{name} {}", sub.get_name());
        if sub.has_subcommands() { leaves(sub, &name) } else { vec![(name, sub)] }
    });
    all.collect()
}

fn synopsis(sub: &Command) -> io::Result<String> {
    let man = Man::new(sub.clone());
    Ok(without_heading(|to| man.render_synopsis_section(to))?.trim_end().to_owned())
}

/// A section of a page without its `.SH` line, and what is set once for each page.
fn without_heading(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut bytes = Vec::new();
    render(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().filter(|line| ![".SH", ".ie", ".el"].iter().any(|macro_name| line.starts_with(macro_name)));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}
