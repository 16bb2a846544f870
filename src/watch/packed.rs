//! The numbers of traces, packed: what a report needs again once it knows over which span of time to draw them.
//!
//! A measurement is a name, a kind, a probability, a revision and a number, and all but the number are the same for
//! thousands of traces, as is which of them a trace has. They are kept once, which leaves eight bytes a measurement of
//! about a hundred and fifty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::ids::TraceId;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};
use crate::domain::time::Timestamp;

/// Traces without segments and notes, and without categories and sequences.
#[derive(Debug, Default)]
pub(super) struct PackedRecords {
    pub(super) records: Vec<PackedRecord>,
    services: Vec<String>,
    service_numbers: BTreeMap<String, u32>,
    /// Measurements whose number stands for any.
    forms: Vec<Measurement>,
    numbers: BTreeMap<Form, u32>,
    /// Forms that occur together, in order.
    lists: BTreeSet<Arc<[u32]>>,
}

/// What measurements of one form have in common: series, kind, whether the value is written as true or false, the bits
/// of the probability, revision.
type Form = (String, SeriesKind, bool, u64, Option<String>);

/// One trace of [`PackedRecords`].
#[derive(Debug)]
pub(super) struct PackedRecord {
    pub(super) ended_at: Timestamp,
    trace_id: TraceId,
    conversation: Box<str>,
    service: u32,
    upstream_probability: Option<f64>,
    /// The places of the forms of its numbers.
    forms: Arc<[u32]>,
    values: Box<[f64]>,
}

impl PackedRecords {
    /// Takes in a trace with the numbers among these measurements.
    pub(super) fn add<'a>(&mut self, record: &TraceRecord, measurements: impl IntoIterator<Item = &'a Measurement>) {
        let numbers = measurements.into_iter().filter_map(|one| Some((one, number(&one.value)?)));
        let (forms, values): (Vec<u32>, Vec<f64>) = numbers.map(|(one, number)| (self.form(one), number)).unzip();
        let (forms, service) = (self.list(&forms), self.service(&record.service));
        self.records.push(PackedRecord {
            ended_at: record.ended_at,
            trace_id: record.trace_id,
            conversation: record.conversation.as_str().into(),
            service,
            upstream_probability: record.upstream_probability,
            forms,
            values: values.into(),
        });
    }

    /// The trace as it was, but for what is not kept.
    pub(super) fn unpack(&self, packed: &PackedRecord) -> TraceRecord {
        let measurement = |(form, &number): (&u32, &f64)| {
            let form = &self.forms[*form as usize];
            let value = if matches!(form.value, Value::Boolean(_)) {
                Value::Boolean(number > 0.0)
            } else {
                Value::Number(number)
            };
            Measurement { value, ..form.clone() }
        };
        TraceRecord {
            trace_id: packed.trace_id,
            conversation: packed.conversation.to_string(),
            service: self.services[packed.service as usize].clone(),
            segments: BTreeMap::new(),
            ended_at: packed.ended_at,
            upstream_probability: packed.upstream_probability,
            measurements: packed.forms.iter().zip(&packed.values).map(measurement).collect(),
            notes: Vec::new(),
        }
    }

    /// The place of a measurement's form.
    fn form(&mut self, one: &Measurement) -> u32 {
        let is_boolean = matches!(one.value, Value::Boolean(_));
        let form = (one.series.clone(), one.kind, is_boolean, one.probability.to_bits(), one.revision.clone());
        let next = self.forms.len() as u32;
        *self.numbers.entry(form).or_insert_with(|| {
            self.forms.push(one.clone());
            next
        })
    }

    fn list(&mut self, forms: &[u32]) -> Arc<[u32]> {
        if let Some(list) = self.lists.get(forms) {
            return Arc::clone(list);
        }
        let list: Arc<[u32]> = forms.into();
        self.lists.insert(Arc::clone(&list));
        list
    }

    fn service(&mut self, name: &str) -> u32 {
        if let Some(number) = self.service_numbers.get(name) {
            return *number;
        }
        let number = self.services.len() as u32;
        self.services.push(name.to_owned());
        self.service_numbers.insert(name.to_owned(), number);
        number
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Boolean(is_true) => Some(f64::from(u8::from(*is_true))),
        Value::Number(number) => Some(*number),
        Value::Sequence(_) | Value::Counts(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::samples::{HEALTHY, measurement, traces};

    #[test]
    fn a_trace_comes_back_bit_for_bit_without_what_is_no_number() {
        let mut records = traces(HEALTHY, 0, 50, 3, &mut fastrand::Rng::with_seed(1));
        for (index, record) in records.iter_mut().enumerate() {
            record.service = format!("s{}", index % 2);
            record.upstream_probability = (index % 3 > 0).then_some(0.1 * index as f64);
            let scored = |value: f64| Measurement {
                probability: 0.3 / (index % 4 + 1) as f64,
                revision: Some(format!("r{}", index % 5)),
                ..measurement("judged", SeriesKind::Ordinal, Value::Number(value))
            };
            record.measurements.extend([f64::NAN, f64::INFINITY, -0.0, 0.1 + 0.2].map(scored));
            record.measurements.push(measurement("judged", SeriesKind::Ordinal, Value::Boolean(true)));
        }
        let mut packed = PackedRecords::default();
        records.iter().for_each(|record| packed.add(record, &record.measurements));
        for (record, packed_record) in records.iter_mut().zip(&packed.records) {
            record.measurements.retain(|one| matches!(one.value, Value::Boolean(_) | Value::Number(_)));
            // Debug text, for no number equals itself when it is none.
            assert_eq!(format!("{record:?}"), format!("{:?}", packed.unpack(packed_record)));
        }
        assert!(packed.forms.len() < 40, "{} forms", packed.forms.len());
    }
}
