//! What runs inside the child processes.

pub(crate) mod disk;
pub(crate) mod replica;
pub(crate) mod storage;
pub(crate) mod supervisor;

use crate::cluster::{
    Failure,
    clock::now_us,
    wire::{Event, Line, What},
};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::io::{BufRead, Write};
use tokio::sync::mpsc;

/// Ties this process to the one that started it, and returns what that one says, line by line. The channel closes when
/// there is nobody left to say anything; whoever reads it then ends.
pub(crate) fn listen_to_parent() -> Result<mpsc::UnboundedReceiver<String>, Failure> {
    // Works on a frozen process, too, which could not see its input end.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("parent".into()).spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if tell.send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(told)
}

/// Says one line to the parent. That it is gone is told by the input, not here.
pub(crate) fn say(line: &Line) {
    if let Ok(text) = serde_json::to_string(line) {
        let mut output = std::io::stdout().lock();
        let _ = writeln!(output, "{text}").and_then(|()| output.flush());
    }
}

/// Says something unasked.
pub(crate) fn tell(what: What) {
    say(&Line::Event(Event { at_us: now_us(), what }));
}
