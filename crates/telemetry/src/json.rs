//! Log lines as JSON objects, one a line.

mod object;

use serde_json::Value;
use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use self::object::Object;
use super::correlate::{self, WholeSubscriber};
use super::time::LineTime;
use base::clock::SharedClock;

/// Members that every line has of its own; a field of the same name gets `field.` before it.
const RESERVED: [&str; 5] = ["timestamp", "level", "target", "trace_id", "span_id"];

/// Writes every event as `{"timestamp","level","target","message",…fields,"trace_id","span_id"}`.
///
/// An own layer, because tracing-subscriber's JSON formatter knows no trace ids. Fields of spans are not repeated:
/// the trace has them, and the fewer places a value is written to, the fewer can leak it.
pub(super) struct JsonLayer<W> {
    writer: W,
    clock: SharedClock,
    whole: WholeSubscriber,
    // Whether there is an event with such names at all: there is none of the broker's own.
    has_unusual_names: AtomicBool,
}

impl<W> JsonLayer<W> {
    pub(super) fn new(writer: W, clock: SharedClock, whole: WholeSubscriber) -> Self {
        Self {
            writer,
            clock,
            whole,
            has_unusual_names: AtomicBool::new(false),
        }
    }
}

impl<S, W> Layer<S> for JsonLayer<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if has_unusual_names(metadata) {
            self.has_unusual_names.store(true, Ordering::Relaxed);
        }
        Interest::always()
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = LINE.take();
        line.clear();
        self.write_line(&mut line, event, &context);
        line.push(b'\n');
        // In one piece, so that lines of several threads do not mix. If the log has no reader any more,
        // nothing can report it.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(&line);
        if line.capacity() <= KEPT_ROOM {
            LINE.set(line);
        }
    }
}

thread_local! {
    // A thread's buffer for its lines, taken away while a line is made: a value that is written may log itself.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The largest buffer that is kept for the next line.
const KEPT_ROOM: usize = 8 * 1024;

impl<W> JsonLayer<W> {
    fn write_line<S>(&self, line: &mut Vec<u8>, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let metadata = event.metadata();
        let mut object = Object::begin(line);
        object.value("timestamp", &LineTime(self.clock.now()));
        object.text("level", metadata.level().as_str());
        object.text("target", metadata.target());
        if self.has_unusual_names.load(Ordering::Relaxed) && has_unusual_names(metadata) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            for (name, value) in &fields.0 {
                object.value(name, value);
            }
        } else {
            // The message first, then the others in their order.
            for message in [true, false] {
                event.record(&mut Entries {
                    object: &mut object,
                    message,
                });
            }
        }
        if let Some(trace) = correlate::trace_of(event, context, &self.whole) {
            object.display("trace_id", format_args!("{}", trace.trace_id()));
            object.display("span_id", format_args!("{}", trace.span_id()));
        }
        object.end();
    }
}

/// Whether some field must have another name than its own, or two have the same: then they are collected first.
fn has_unusual_names(metadata: &Metadata<'_>) -> bool {
    let names = || metadata.fields().iter().map(|field| field.name());
    names().enumerate().any(|(index, name)| {
        name.starts_with("r#") || RESERVED.contains(&name) || names().take(index).any(|other| other == name)
    })
}

/// Writes an event's fields as they come: its message, or all others.
struct Entries<'o, 'b> {
    object: &'o mut Object<'b>,
    message: bool,
}

impl<'b> Entries<'_, 'b> {
    fn entry(&mut self, field: &Field, write: impl FnOnce(&mut Object<'b>, &'static str)) {
        if (field.name() == "message") == self.message {
            write(self.object, field.name());
        }
    }
}

impl Visit for Entries<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.entry(field, |object, name| object.display(name, format_args!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.entry(field, |object, name| object.text(name, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.entry(field, |object, name| object.value(name, &value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.entry(field, |object, name| object.value(name, &value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.entry(field, |object, name| object.value(name, &value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.entry(field, |object, name| object.value(name, &value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.entry(field, |object, name| object.text(name, &with_causes(value)));
    }
}

/// An error with its causes: `cannot load: no such file`.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// An event's fields in order, `message` first.
#[derive(Default)]
pub(super) struct Fields(pub(super) Vec<(Cow<'static, str>, Value)>);

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            name if RESERVED.contains(&name) => Cow::Owned(format!("field.{name}")),
            // How raw identifiers come (`r#type`).
            name => Cow::Borrowed(name.strip_prefix("r#").unwrap_or(name)),
        };
        // JSON objects have no second member of a name (RFC 8259 section 4); the last value counts.
        self.0.retain(|(own, _)| *own != name);
        let place = if name == "message" { 0 } else { self.0.len() };
        self.0.insert(place, (name, value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.push(field, Value::String(with_causes(value)));
    }
}
