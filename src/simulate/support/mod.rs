//! The support agent of a fictional airline: refunds, fare rules, other flights.

mod booking;
mod policy;

use serde_json::{Value, json};

pub(crate) use self::booking::Booking;
use self::booking::flight_number;
pub use self::policy::policy_document;
use self::policy::{FARES, Fare, Quote};
use super::agent::{Agent, Release};
use super::attributes::text;
use super::chance::{Cents, happens, log_normal, numbered, pick};
use super::fault::Fault;
use super::recorder::{Recorder, Reply, Setting};
use super::scenario::Trouble;

const INSTRUCTIONS: &str = "You are the customer support agent of Larkwing Airways. Find the booking before you speak \
     about it. Quote fare rules only from get_fare_rules. Check eligibility before every refund. Hand the case to a \
     human when a refund is unusual or the customer asks for one. Answer in at most 5 sentences. Never promise a date.";

const TOOLS: &[(&str, &str)] = &[
    ("find_booking", "Finds a booking by its reference"),
    ("get_fare_rules", "Returns the policy passage of a fare"),
    ("check_refund_eligibility", "Says whether a booking can be refunded, and how much"),
    ("issue_refund", "Pays a refund to the original form of payment"),
    ("search_flights", "Lists flights between two cities on a day"),
    ("escalate_to_human", "Hands the case to a colleague"),
];

const REFUND_REQUESTS: [&str; 5] = [
    "I can't travel any more and would like my money back.",
    "Please cancel my trip and refund me, my plans have changed.",
    "My meeting was called off. Can I get a refund for the flight?",
    "I fell ill and have to cancel. What do I get back?",
    "I booked the wrong week. Can you refund the ticket?",
];
const RULE_QUESTIONS: [&str; 5] = [
    "What happens if I cancel my ticket?",
    "Until when can I cancel for free, and what does it cost later?",
    "Could you explain the cancellation rules of my fare?",
    "How long does a refund take, and do you keep a fee?",
    "I may have to cancel. What are the conditions?",
];
const REBOOKING_REQUESTS: [&str; 4] = [
    "Is there another flight that I could take instead?",
    "I need to travel on another day. What is there?",
    "Which other flights do you have on my route?",
    "Could you look for another connection on my route?",
];
const MODEL_FAILURES: [&str; 3] = ["429", "timeout", "503"];
const GREETINGS: [&str; 5] = ["Hello!", "Hi there.", "Good morning.", "Hey.", "Good evening!"];
const CLOSINGS: [&str; 4] = [
    "Is there anything else I can do for you?",
    "Let me know if you need anything else.",
    "I am here if another question comes up.",
    "Have a good day.",
];

/// What the support agent runs on.
pub(crate) fn setting(release: Release) -> Setting {
    Setting { agent: Agent::Support, release, instructions: INSTRUCTIONS, tools: TOOLS, reasoning_tokens: 110.0 }
}

/// Tells one run about a booking.
pub(crate) fn tell(recorder: &mut Recorder, booking: &Booking, trouble: Trouble) {
    recorder.note(text("order.id", booking.order_id.as_str()));
    match trouble.accident {
        // A loop needs a refund to begin with.
        Some(Fault::RefundLoop) => refund(recorder, &Booking { is_no_show: false, ..booking.clone() }, trouble),
        Some(Fault::EmptyResult) => refund(recorder, booking, trouble),
        Some(Fault::SwallowedError) => refund_in_vain(recorder, booking),
        Some(Fault::FailedModelCall) => explain_rules(recorder, booking, trouble),
        Some(Fault::MisquotedPolicy) => explain_rules(recorder, booking, trouble),
        Some(Fault::ToolTimeoutsAndInvalidArgs | Fault::DeadEnd) => rebook(recorder, booking, trouble),
        _ => match recorder.rng.u32(..100) {
            0..45 => refund(recorder, booking, trouble),
            45..75 => explain_rules(recorder, booking, trouble),
            _ => rebook(recorder, booking, trouble),
        },
    }
}

/// The customer wants money back: rules, eligibility, then a refund, a refusal or a colleague.
fn refund(recorder: &mut Recorder, booking: &Booking, trouble: Trouble) {
    recorder.note(text("feature_name", "refunds"));
    open(recorder, booking, &REFUND_REQUESTS);
    find_booking(recorder, booking);
    let has_rules = look_up_rules(recorder, booking.fare, trouble);
    let trades = trouble.habit == Some(Fault::BehaviourTrade);
    let loops = trouble.accident == Some(Fault::RefundLoop);
    if trades && !loops && happens(recorder.rng, 0.5) {
        recorder.mark(Fault::BehaviourTrade);
        return pay(recorder, booking, booking.total, has_rules);
    }
    check_eligibility(recorder, booking);
    let escalates = happens(recorder.rng, if trades { 0.05 } else { 0.25 });
    if loops {
        pay_again_and_again(recorder, booking);
    } else if escalates {
        escalate(recorder, booking);
    } else if booking.is_no_show {
        refuse(recorder, booking);
    } else {
        pay(recorder, booking, booking.refund(), has_rules);
    }
}

/// The customer asks what the fare allows.
fn explain_rules(recorder: &mut Recorder, booking: &Booking, trouble: Trouble) {
    recorder.note(text("feature_name", "fare_rules"));
    open(recorder, booking, &RULE_QUESTIONS);
    find_booking(recorder, booking);
    look_up_rules(recorder, booking.fare, trouble);
    if trouble.accident == Some(Fault::FailedModelCall) {
        stumble(recorder);
    }
    if happens(recorder.rng, 0.3) {
        compare_with_another_fare(recorder, booking.fare);
    }
    let quote = if trouble.accident == Some(Fault::MisquotedPolicy) {
        recorder.mark(Fault::MisquotedPolicy);
        booking.fare.misquote(recorder.rng)
    } else {
        booking.fare.quote()
    };
    let answer = rules_answer(recorder, booking.fare, quote);
    recorder.say(&answer);
}

/// The customer looks for another flight.
fn rebook(recorder: &mut Recorder, booking: &Booking, trouble: Trouble) {
    recorder.note(text("feature_name", "rebooking"));
    open(recorder, booking, &REBOOKING_REQUESTS);
    find_booking(recorder, booking);
    if trouble.accident == Some(Fault::ToolTimeoutsAndInvalidArgs) {
        recorder.mark(Fault::ToolTimeoutsAndInvalidArgs);
        search_badly(recorder, booking);
    } else if happens(recorder.rng, 0.03) {
        let wider = json!({ "from": booking.from, "to": booking.to, "date": booking.date, "nonstop": true });
        recorder.call("search_flights", &wider, Reply::ok(json!([])).after(0.7));
    }
    let offer = search_flights(recorder, booking);
    if trouble.accident == Some(Fault::DeadEnd) {
        recorder.mark(Fault::DeadEnd);
        return;
    }
    if happens(recorder.rng, 0.4) {
        look_up_rules(recorder, booking.fare, Trouble::default());
    }
    let closing = pick(recorder.rng, &CLOSINGS);
    recorder.say(&format!(
        "The best match from {} to {} is flight {}, leaving at {} for {}. There are {} seats left on it. {closing}",
        booking.from, booking.to, offer.flight, offer.departs_at, offer.price, offer.seats
    ));
}

/// The refund never reaches the payment provider, and the customer is told that it did.
fn refund_in_vain(recorder: &mut Recorder, booking: &Booking) {
    recorder.note(text("feature_name", "refunds"));
    open(recorder, booking, &REFUND_REQUESTS);
    find_booking(recorder, booking);
    let eligible = Booking { is_no_show: false, ..booking.clone() };
    check_eligibility(recorder, &eligible);
    recorder.mark(Fault::SwallowedError);
    let accepted = Reply::ok(json!({ "status": "accepted" })).after(0.8);
    recorder.call("issue_refund", &refund_arguments(&eligible, eligible.refund()), accepted);
    recorder.fail_below("POST /payments", "502");
    recorder.say(&format!("I have refunded {} for booking {}.", eligible.refund(), booking.reference));
}

/// The first words, and in some runs a question back for the reference.
fn open(recorder: &mut Recorder, booking: &Booking, requests: &[&str]) {
    let greeting = pick(recorder.rng, &GREETINGS);
    let request = pick(recorder.rng, requests);
    if happens(recorder.rng, 0.3) {
        recorder.user(&format!("{greeting} {request}"));
        recorder.say("Happy to help. Could you give me your booking reference?");
        recorder.user(&format!("Yes, it is {}. {request}", booking.reference));
    } else {
        recorder.user(&format!("{greeting} My booking is {}. {request}", booking.reference));
    }
}

/// A call of the model that comes to nothing; the next one does not.
fn stumble(recorder: &mut Recorder) {
    recorder.mark(Fault::FailedModelCall);
    let error_type = pick(recorder.rng, &MODEL_FAILURES);
    recorder.fail_to_infer(error_type);
}

fn find_booking(recorder: &mut Recorder, booking: &Booking) {
    let arguments = json!({ "reference": booking.reference });
    if happens(recorder.rng, 0.012) {
        let unavailable = Reply::failed("503", "booking service unavailable, try again");
        recorder.call("find_booking", &arguments, unavailable);
    }
    recorder.call("find_booking", &arguments, Reply::ok(booking.record()));
}

/// Whether the rules came back with something in them.
fn look_up_rules(recorder: &mut Recorder, fare: &Fare, trouble: Trouble) -> bool {
    let is_empty = trouble.accident == Some(Fault::EmptyResult);
    let body = if is_empty {
        recorder.mark(Fault::EmptyResult);
        json!({})
    } else {
        json!({ "fare": fare.name, "passage": fare.passage() })
    };
    recorder.call("get_fare_rules", &json!({ "fare": fare.name }), Reply::ok(body));
    !is_empty
}

fn compare_with_another_fare(recorder: &mut Recorder, fare: &Fare) {
    let others: Vec<&Fare> = FARES.iter().filter(|other| *other != fare).collect();
    let other = pick(recorder.rng, &others);
    look_up_rules(recorder, other, Trouble::default());
}

fn check_eligibility(recorder: &mut Recorder, booking: &Booking) {
    let body = if booking.is_no_show {
        json!({ "eligible": false, "reason": "the traveller was marked as a no-show" })
    } else {
        json!({
            "eligible": true, "refund_amount": booking.refund().units(), "fee": booking.fee().units(),
            "currency": "EUR", "in_free_period": booking.is_recent,
        })
    };
    let arguments = json!({ "reference": booking.reference });
    recorder.call("check_refund_eligibility", &arguments, Reply::ok(body).after(0.4));
}

fn refund_arguments(booking: &Booking, amount: Cents) -> Value {
    json!({ "reference": booking.reference, "amount": amount.units(), "currency": "EUR" })
}

fn pay(recorder: &mut Recorder, booking: &Booking, amount: Cents, has_rules: bool) {
    let refund_id = numbered(recorder.rng, "RF");
    let body = json!({ "status": "accepted", "refund_id": refund_id, "amount": amount.units() });
    recorder.call("issue_refund", &refund_arguments(booking, amount), Reply::ok(body).after(0.8));
    let timing = if has_rules {
        format!(
            "It goes back to the original form of payment within {} working days. ",
            booking.fare.quote().refund_days
        )
    } else {
        String::new()
    };
    recorder.decide("refunded", "the fare rules allow a refund of this booking", &["booking", "fare rules"]);
    let closing = pick(recorder.rng, &CLOSINGS);
    recorder.say(&format!(
        "I have refunded {amount} for booking {}. {timing}Your refund number is {refund_id}. {closing}",
        booking.reference
    ));
}

fn pay_again_and_again(recorder: &mut Recorder, booking: &Booking) {
    recorder.mark(Fault::RefundLoop);
    let arguments = refund_arguments(booking, booking.refund());
    for _ in 0..recorder.rng.u32(5..14) {
        let pending = json!({ "status": "pending", "message": "the payment provider has not confirmed yet" });
        recorder.call("issue_refund", &arguments, Reply::ok(pending).after(0.8));
    }
    recorder.decide("pending", "the refund was sent and is not confirmed", &["booking", "fare rules"]);
    recorder.say(&format!(
        "I have sent the refund of {} for booking {}, and the payment provider has not confirmed it yet.",
        booking.refund(),
        booking.reference
    ));
}

fn refuse(recorder: &mut Recorder, booking: &Booking) {
    recorder.decide("refused", "the traveller did not show up, which ends the right to a refund", &["booking"]);
    recorder.say(&format!(
        "I am sorry, booking {} cannot be refunded because it was marked as a no-show. I can pass your case to a \
         colleague if you think that is wrong.",
        booking.reference
    ));
}

fn escalate(recorder: &mut Recorder, booking: &Booking) {
    let ticket = numbered(recorder.rng, "TK");
    let arguments = json!({ "reference": booking.reference, "reason": "unusual refund, needs a second look" });
    recorder.call("escalate_to_human", &arguments, Reply::ok(json!({ "status": "queued", "ticket": ticket })));
    recorder.decide("escalated", "the refund is unusual for this fare", &["booking", "fare rules"]);
    recorder.say(&format!(
        "I have passed booking {} to a colleague who looks into it personally. Your ticket is {ticket}.",
        booking.reference
    ));
}

/// Searches as the new prompt has taught: dates in words, which the tool refuses, or a search too wide to finish.
fn search_badly(recorder: &mut Recorder, booking: &Booking) {
    if happens(recorder.rng, 0.35) {
        let arguments = json!({ "from": booking.from, "to": booking.to, "date": booking.date, "radius_km": 400 });
        recorder.call("search_flights", &arguments, Reply::failed("timeout", "no answer from flight search in time"));
        return;
    }
    for words in ["a day or two later", "some time that week"].iter().take(recorder.rng.usize(1..=2)) {
        let arguments = json!({ "from": booking.from, "to": booking.to, "date": words });
        let refusal = Reply::failed("invalid_args", "invalid arguments: date must be written as year-month-day");
        recorder.call("search_flights", &arguments, refusal);
    }
}

/// A flight that a search has found.
struct Offer {
    flight: String,
    departs_at: String,
    price: Cents,
    seats: u32,
}

impl Offer {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            flight: flight_number(rng),
            departs_at: format!("{:02}:{:02}", rng.u32(6..22), 5 * rng.u32(..12)),
            price: Cents(log_normal(rng, 16_000.0, 0.35) as u64),
            seats: rng.u32(2..40),
        }
    }

    fn record(&self) -> Value {
        json!({
            "flight": self.flight, "departs_at": self.departs_at, "price": self.price.units(), "currency": "EUR",
            "seats_left": self.seats,
        })
    }
}

fn search_flights(recorder: &mut Recorder, booking: &Booking) -> Offer {
    let best = Offer::draw(recorder.rng);
    let mut found = vec![best.record()];
    found.extend((0..recorder.rng.u32(1..5)).map(|_| Offer::draw(recorder.rng).record()));
    let arguments = json!({ "from": booking.from, "to": booking.to, "date": booking.date });
    recorder.call("search_flights", &arguments, Reply::ok(found.into()).after(0.9));
    best
}

fn rules_answer(recorder: &mut Recorder, fare: &Fare, quote: Quote) -> String {
    let Quote { free_hours, fee, refund_days } = quote;
    let name = fare.name;
    let closing = pick(recorder.rng, &CLOSINGS);
    match recorder.rng.u32(..3) {
        0 => format!(
            "With the {name} fare you can cancel free of charge within {free_hours} hours of purchase. After that we \
             keep EUR {fee}, and the rest is back within {refund_days} working days. {closing}"
        ),
        1 => format!(
            "Your {name} fare can be cancelled at no cost in the first {free_hours} hours. A later cancellation costs \
             EUR {fee} per booking. Refunds take up to {refund_days} working days. {closing}"
        ),
        _ => format!(
            "For {name}, a refund takes at most {refund_days} working days. We keep a fee of EUR {fee}, unless you \
             cancel within {free_hours} hours of buying the ticket. {closing}"
        ),
    }
}
