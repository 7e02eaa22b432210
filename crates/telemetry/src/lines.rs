//! Log lines on their way to standard output.
//!
//! A line is appended to a buffer, and a thread writes what has gathered there: many lines with one call. It is woken only
//! where it has nothing to do, and not again for a moment after it has written. Under load nobody pays for a wake-up, and
//! no line is allocated by one thread to be freed by another.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::filter::AUDIT_TARGET;
use super::metrics::Metrics;

/// Lines that wait for the reader of standard output. Beyond, lines are lost rather than requests held up: a reader
/// that stalls must not stall the service.
const MAX_BUFFERED_LINES: usize = 16_384;

/// How long lines gather after others were written.
const GATHER: Duration = Duration::from_millis(5);

/// The most that is written with one call, unless a single line has more: what a pipe holds.
const MAX_PIECE: usize = 64 * 1024;

/// Room that a buffer keeps once it is empty.
const KEPT_ROOM: usize = 256 * 1024;

/// How long the end waits for the writing thread.
const END_LIMIT: Duration = Duration::from_millis(1200);

/// How many lines of an output were lost.
#[derive(Debug, Clone, Default)]
pub(super) struct LostLines(Arc<AtomicU64>);

impl LostLines {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, lines: usize) {
        self.0.fetch_add(lines as u64, Ordering::Relaxed);
    }
}

/// Takes lines, and never waits for their reader.
#[derive(Debug, Clone)]
pub(super) struct LineWriter(Arc<Shared>);

/// What those that write lines share with the thread that writes them out.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    // Notified when there is something to do for a thread that sleeps.
    wanted: Condvar,
    lost: LostLines,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    // In `bytes`, and in what is being written just now.
    lines: usize,
    // The thread sleeps until it is notified.
    is_idle: bool,
    has_ended: bool,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.lines >= MAX_BUFFERED_LINES || waiting.has_ended {
            drop(waiting);
            return self.lost.add(1);
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        let wakes = std::mem::take(&mut waiting.is_idle);
        drop(waiting);
        if wakes {
            self.wanted.notify_one();
        }
    }

    /// Writes what gathers, until the end.
    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        while let Some(lines) = self.gather(&mut batch) {
            self.write(&batch, &mut output);
            if batch.capacity() > KEPT_ROOM {
                batch = Vec::new();
            } else {
                batch.clear();
            }
            let mut waiting = self.waiting();
            waiting.lines -= lines;
            // For what comes meanwhile nobody wakes this thread.
            let until_end = |waiting: &mut Waiting| !waiting.has_ended;
            drop(self.wanted.wait_timeout_while(waiting, GATHER, until_end));
        }
    }

    /// Waits for lines, and exchanges them for the empty `batch`. Returns how many there are; `None` at the end, once all
    /// are written.
    fn gather(&self, batch: &mut Vec<u8>) -> Option<usize> {
        let mut waiting = self.waiting();
        while waiting.bytes.is_empty() {
            if waiting.has_ended {
                return None;
            }
            waiting.is_idle = true;
            waiting = self.wanted.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut waiting.bytes, batch);
        Some(waiting.lines)
    }

    /// Writes whole lines. Those of a piece that the output does not take are lost: a full disk, a reader who has gone.
    fn write(&self, batch: &[u8], output: &mut impl Write) {
        let mut rest = batch;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece_length(rest));
            // In one call, since the other thread writes there too.
            if output.write_all(piece).and_then(|()| output.flush()).is_err() {
                self.lost.add(memchr::memchr_iter(b'\n', piece).count());
            }
            rest = after;
        }
    }
}

/// As many whole lines as fit into one piece, and one at least.
fn piece_length(lines: &[u8]) -> usize {
    let within = &lines[..lines.len().min(MAX_PIECE)];
    memchr::memrchr(b'\n', within)
        .or_else(|| memchr::memchr(b'\n', lines))
        .map_or(lines.len(), |end| end + 1)
}

impl Write for &LineWriter {
    /// `line` is one whole line, with the end of the line as its last byte and nowhere else.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes lines to one output.
#[derive(Debug)]
struct Lines {
    shared: Arc<Shared>,
    // Hangs up when the thread has ended.
    running: mpsc::Receiver<()>,
}

impl Lines {
    fn to(output: impl Write + Send + 'static) -> (LineWriter, Self) {
        let shared = Arc::<Shared>::default();
        let (ended, running) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("log-lines".to_owned()).spawn(move || {
            of_thread.write_to(output);
            drop(ended);
        });
        if thread.is_err() {
            // Then every line is lost, and counted.
            shared.waiting().has_ended = true;
        }
        (LineWriter(Arc::clone(&shared)), Self { shared, running })
    }

    /// Writes what is still buffered. What is given hangs up once that is done.
    fn end(self) -> mpsc::Receiver<()> {
        self.shared.waiting().has_ended = true;
        self.shared.wanted.notify_one();
        self.running
    }
}

/// Where lines go by what they are: audit events wait in a buffer of their own, so that no number of other lines makes
/// them lost.
#[derive(Debug, Clone)]
pub(super) struct Writers {
    other: LineWriter,
    audit: LineWriter,
}

impl<'w> MakeWriter<'w> for Writers {
    type Writer = &'w LineWriter;

    fn make_writer(&'w self) -> &'w LineWriter {
        &self.other
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> &'w LineWriter {
        if metadata.target() == AUDIT_TARGET {
            &self.audit
        } else {
            &self.other
        }
    }
}

/// The threads that write all lines to one output.
#[derive(Debug)]
pub(super) struct AllLines {
    other: Lines,
    audit: Lines,
}

impl AllLines {
    /// `output` gives the same output twice. It must take whole lines at once (`write_all`), since two threads write to it.
    pub(super) fn to<W: Write + Send + 'static>(output: impl Fn() -> W) -> (Writers, Self) {
        let (other, other_lines) = Lines::to(output());
        let (audit, audit_lines) = Lines::to(output());
        let lines = Self {
            other: other_lines,
            audit: audit_lines,
        };
        (Writers { other, audit }, lines)
    }

    /// How many audit events and how many other lines were lost is counted in `metrics`.
    pub(super) fn count_in(&self, metrics: &Metrics) {
        metrics.count_lost_lines(self.other.shared.lost.clone(), self.audit.shared.lost.clone());
    }

    /// Writes what is still buffered; gives up after `limit`, or a little more than a second. Without a reader a thread
    /// cannot end; it is left behind.
    #[expect(
        clippy::disallowed_methods,
        reason = "bounds real waiting, whatever a test's clock says"
    )]
    pub(super) fn end(self, limit: Duration) {
        // Both at once: they wait for the same reader.
        let ends = [self.audit.end(), self.other.end()];
        let deadline = Instant::now() + limit.min(END_LIMIT);
        for over in ends {
            let _ = over.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn count(metrics: &Metrics, signal: &str) -> u64 {
        let name = format!("acs_broker_telemetry_dropped_total{{acs_broker_signal=\"{signal}\"}} ");
        let reported = metrics.scrape().unwrap();
        let value = reported.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap().parse().unwrap()
    }

    #[test]
    fn lines_that_the_output_refuses_are_counted() {
        // Like a file on a disk without room.
        let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (writers, lines) = AllLines::to(full);
        let metrics = Metrics::local();
        lines.count_in(&metrics);
        for _ in 0..3 {
            (&writers.other).write_all(b"a line\n").unwrap();
        }
        (&writers.audit).write_all(b"an event\n").unwrap();
        lines.end(LIMIT);
        assert_eq!((count(&metrics, "logs"), count(&metrics, "audit")), (3, 1));
    }

    /// An output whose reader is stalled until the lock is free.
    #[derive(Clone, Default)]
    struct Stalled(Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_number_of_other_lines_pushes_out_an_audit_event() {
        let output = Stalled::default();
        let (writers, lines) = AllLines::to(|| output.clone());
        let metrics = Metrics::local();
        lines.count_in(&metrics);
        let stalled = output.0.lock().unwrap();
        for _ in 0..2 * MAX_BUFFERED_LINES {
            (&writers.other).write_all(b"a line\n").unwrap();
        }
        for _ in 0..40 {
            (&writers.audit).write_all(b"an event\n").unwrap();
        }
        drop(stalled);
        lines.end(LIMIT);
        let written = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().filter(|line| *line == "an event").count(), 40);
        assert_eq!(count(&metrics, "audit"), 0);
        assert!(count(&metrics, "logs") > 0);
    }

    /// An output that notes each call.
    #[derive(Clone, Default)]
    struct Calls(Arc<Mutex<Vec<usize>>>);

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_have_gathered_are_written_in_few_calls_and_whole() {
        let shared = Shared::default();
        let line = format!("{}\n", "a".repeat(999)).into_bytes();
        let long = format!("{}\n", "b".repeat(2 * MAX_PIECE)).into_bytes();
        for _ in 0..100 {
            shared.take(&line);
        }
        shared.take(&long);
        shared.take(&line);
        shared.waiting().has_ended = true;
        let calls = Calls::default();
        shared.write_to(calls.clone());
        assert_eq!(*calls.0.lock().unwrap(), [65_000, 35_000, long.len(), 1000]);
        assert_eq!((shared.waiting().lines, shared.lost.count()), (0, 0));
        // After the end nobody writes what comes.
        shared.take(&line);
        assert_eq!(shared.lost.count(), 1);
    }

    #[test]
    fn a_line_that_comes_alone_is_written_at_once() {
        let (sender, written) = mpsc::channel();
        let output = move || Sent(sender.clone());
        let (writers, lines) = AllLines::to(output);
        (&writers.other).write_all(b"a line\n").unwrap();
        assert_eq!(written.recv_timeout(LIMIT).unwrap(), b"a line\n");
        (&writers.audit).write_all(b"an event\n").unwrap();
        assert_eq!(written.recv_timeout(LIMIT).unwrap(), b"an event\n");
        lines.end(LIMIT);
    }

    /// An output whose lines are awaited.
    struct Sent(mpsc::Sender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
