//! Bookings that the support agent is asked about.

use fastrand::Rng;
use serde_json::{Value, json};

use super::policy::{FARES, Fare};
use crate::simulate::chance::{Cents, date, log_normal, numbered, pick};

const CITIES: [&str; 12] =
    ["Lisbon", "Turin", "Bergen", "Porto", "Gdansk", "Valencia", "Malmo", "Lyon", "Cork", "Bari", "Leipzig", "Split"];
const FIRST_NAMES: [&str; 14] = [
    "Ines", "Tomas", "Freya", "Marek", "Odile", "Sander", "Noor", "Luca", "Petra", "Eamon", "Signe", "Rui", "Hana",
    "Matteo",
];
const LAST_NAMES: [&str; 14] = [
    "Valente", "Brandt", "Okafor", "Lindgren", "Moreau", "Quigley", "Rossi", "Nowak", "Haddad", "Silva", "Dekker",
    "Horvat", "Bakke", "Ferrer",
];

/// One booking; the runs of a conversation share it.
#[derive(Debug, Clone)]
pub(crate) struct Booking {
    /// Six characters that the customer has on paper.
    pub(crate) reference: String,
    /// `order.id`.
    pub(crate) order_id: String,
    /// The traveller.
    pub(crate) passenger: String,
    /// First city.
    pub(crate) from: &'static str,
    /// Second city.
    pub(crate) to: &'static str,
    /// Flight number.
    pub(crate) flight: String,
    /// Day of travel.
    pub(crate) date: String,
    /// The fare.
    pub(crate) fare: &'static Fare,
    /// Price paid.
    pub(crate) total: Cents,
    /// Whether the free cancellation period still runs.
    pub(crate) is_recent: bool,
    /// Whether the traveller did not show up, which ends the right to a refund.
    pub(crate) is_no_show: bool,
}

impl Booking {
    /// A booking from the season's traffic.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let from = rng.usize(..CITIES.len());
        let to = (from + rng.usize(1..CITIES.len())) % CITIES.len();
        Self {
            reference: reference(rng),
            order_id: numbered(rng, "ORD"),
            passenger: format!("{} {}", pick(rng, &FIRST_NAMES), pick(rng, &LAST_NAMES)),
            from: CITIES[from],
            to: CITIES[to],
            flight: flight_number(rng),
            date: date(rng),
            fare: &FARES[rng.usize(..FARES.len())],
            total: Cents(log_normal(rng, 24_000.0, 0.45) as u64 + 8_000),
            is_recent: rng.f64() < 0.3,
            is_no_show: rng.f64() < 0.15,
        }
    }

    /// The sum to pay back under the fare's rules.
    pub(crate) fn refund(&self) -> Cents {
        Cents(self.total.0 - self.fee().0)
    }

    /// The fee kept under the fare's rules.
    pub(crate) fn fee(&self) -> Cents {
        Cents(if self.is_recent { 0 } else { u64::from(self.fare.fee) * 100 })
    }

    /// What `find_booking` returns.
    pub(crate) fn record(&self) -> Value {
        json!({
            "reference": self.reference, "order_id": self.order_id, "passenger": self.passenger,
            "from": self.from, "to": self.to, "flight": self.flight, "date": self.date,
            "fare": self.fare.name, "total": self.total.units(), "currency": "EUR",
        })
    }
}

/// Four letters without look-alikes, then two digits.
fn reference(rng: &mut Rng) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKMNPQRSTVWXYZ";
    let mut letter = || char::from(LETTERS[rng.usize(..LETTERS.len())]);
    let letters: String = (0..4).map(|_| letter()).collect();
    format!("{letters}{}", rng.u32(10..100))
}

/// A flight number of the airline.
pub(crate) fn flight_number(rng: &mut Rng) -> String {
    format!("LW{}", rng.u32(100..1000))
}
