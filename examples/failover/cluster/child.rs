//! A child process: it talks in JSON lines, can be frozen and killed, and never outlives us.
//!
//! Three things see to the last: dropping the handle kills it, the kernel kills it when we die (whatever kills us, and
//! even if it is frozen), and it ends by itself when its standard input does.

use super::{Failure, wire::Line, within};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::VecDeque,
    ffi::OsStr,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, Command},
    sync::mpsc,
};

/// How many lines of a child's complaints are kept: the last ones say why it died.
const COMPLAINTS: usize = 40;
/// A killed process is gone within moments; the kernel only has to free its memory.
const REAPED_WITHIN: Duration = Duration::from_secs(5);
/// A child reads its input at once, unless it is frozen.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

pub(crate) struct Child {
    pub(crate) name: String,
    process: tokio::process::Child,
    input: ChildStdin,
    complaints: Arc<Mutex<VecDeque<String>>>,
}

impl Child {
    /// Starts a program. What it says arrives on the channel returned, which closes when it ends.
    pub(crate) fn spawn<A: AsRef<OsStr>>(
        program: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Line>), Failure> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
        let missing = || Failure::from("a pipe that was asked for is missing");
        let input = process.stdin.take().ok_or_else(missing)?;
        let output = process.stdout.take().ok_or_else(missing)?;
        let errors = process.stderr.take().ok_or_else(missing)?;
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&complaints);
        tokio::spawn(async move {
            let mut lines = BufReader::new(errors).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                keep(&kept, line);
            }
        });
        // Unbounded, but fed by our own children alone, which say little; a bound would stall them.
        let (tell, told) = mpsc::unbounded_channel();
        let kept = Arc::clone(&complaints);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(said) => {
                        let _ = tell.send(said);
                    }
                    Err(error) => keep(&kept, format!("said what is not understood ({error}): {line}")),
                }
            }
        });
        Ok((Self { name: name.to_owned(), process, input, complaints }, told))
    }

    /// Says one line to it.
    pub(crate) async fn say(&mut self, line: &impl serde::Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let what = format!("{} takes a line", self.name);
        within(HEARD_WITHIN, &what, self.input.write_all(text.as_bytes())).await??;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let gone = || format!("{} is not running; {}", self.name, self.complaints());
        let id = self.process.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(gone)?;
        let pid = Pid::from_raw(id).ok_or_else(gone)?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGSTOP: it no longer runs, but its connections stay open and the kernel goes on accepting new ones.
    pub(crate) fn freeze(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }
    /// SIGCONT: it goes on as if nothing had happened.
    pub(crate) fn thaw(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }
    /// SIGKILL, as a power failure would.
    pub(crate) fn kill(&self) -> Result<(), Failure> {
        self.signal(Signal::KILL)
    }
    /// Waits until it is gone.
    pub(crate) async fn gone(&mut self) -> Result<(), Failure> {
        within(REAPED_WITHIN, &format!("{} ends", self.name), self.process.wait()).await??;
        Ok(())
    }

    /// The last things that it wrote to its standard error, for whoever has to understand what happened.
    pub(crate) fn complaints(&self) -> String {
        let kept = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            return format!("{} wrote nothing to its standard error", self.name);
        }
        let lines: Vec<&str> = kept.iter().map(String::as_str).collect();
        format!("{} wrote to its standard error:\n    {}", self.name, lines.join("\n    "))
    }
}

fn keep(kept: &Mutex<VecDeque<String>>, line: String) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == COMPLAINTS {
        kept.pop_front();
    }
    kept.push_back(line);
}
