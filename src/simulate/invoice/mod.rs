//! The invoice agent: compares supplier invoices with orders, and approves or rejects them.

mod paper;

use serde_json::json;

use self::paper::{Flaw, Paper};
use super::agent::{Agent, Release};
use super::attributes::text;
use super::chance::{happens, numbered, pick};
use super::fault::Fault;
use super::recorder::{Recorder, Reply, Setting};
use super::scenario::Trouble;

const INSTRUCTIONS: &str = "You approve supplier invoices. Compare every invoice with its purchase order and with the \
     vendor register. Approve only when quantity, unit price and total agree with the purchase order and the vendor is \
     approved. Otherwise reject it and give the reason. Answer in at most 4 sentences.";

const TOOLS: &[(&str, &str)] = &[
    ("get_invoice", "Reads an invoice"),
    ("get_purchase_order", "Reads the purchase order an invoice refers to"),
    ("check_vendor", "Looks a vendor up in the register"),
    ("get_goods_receipt", "Says what the warehouse has received for an order"),
    ("approve_invoice", "Releases an invoice for payment"),
    ("reject_invoice", "Sends an invoice back to the vendor"),
];

const REQUESTS: [&str; 5] = [
    "Please review invoice",
    "Can you check and settle invoice",
    "New in the inbox, needs a decision: invoice",
    "Please compare with the order and decide on invoice",
    "Due soon, please process invoice",
];

const SOURCES: &[&str] = &["invoice", "purchase order", "vendor register"];

/// What the invoice agent runs on.
pub(crate) fn setting(release: Release) -> Setting {
    Setting { agent: Agent::Invoice, release, instructions: INSTRUCTIONS, tools: TOOLS, reasoning_tokens: 90.0 }
}

/// Tells one run about one invoice.
pub(crate) fn tell(recorder: &mut Recorder, trouble: Trouble) {
    let mut paper = Paper::draw(recorder.rng);
    // Only an invoice that is otherwise in order hides a wrong quantity; so the mix of decisions stays as it was.
    if trouble.accident == Some(Fault::QuantityTenTimesOff) && paper.flaw.is_none() {
        recorder.mark(Fault::QuantityTenTimesOff);
        paper.billed_quantity *= 10;
    }
    recorder.note(text("feature_name", "invoice_approval"));
    recorder.note(text("invoice.id", paper.invoice_id.as_str()));
    recorder.note(text("purchase_order.id", paper.order_id.as_str()));
    let request = pick(recorder.rng, &REQUESTS);
    recorder.user(&format!("{request} {} from {}.", paper.invoice_id, paper.vendor));
    read_records(recorder, &paper, trouble);
    match paper.flaw {
        None => approve(recorder, &paper),
        Some(flaw) => reject(recorder, &paper, flaw),
    }
}

fn read_records(recorder: &mut Recorder, paper: &Paper, trouble: Trouble) {
    recorder.call("get_invoice", &json!({ "invoice_id": paper.invoice_id }), Reply::ok(paper.invoice()).after(0.3));
    let order = json!({ "order_id": paper.order_id });
    if happens(recorder.rng, 0.012) {
        let busy = Reply::failed("rate_limited", "too many requests to the order system");
        recorder.call("get_purchase_order", &order, busy);
    }
    recorder.call("get_purchase_order", &order, Reply::ok(paper.order()).after(0.5));
    if trouble.accident == Some(Fault::LostContext) {
        recorder.mark(Fault::LostContext);
        recorder.delegate_out_of_sight("vendor-check");
    }
    recorder.call("check_vendor", &json!({ "vendor": paper.vendor }), Reply::ok(paper.vendor_entry()));
    if happens(recorder.rng, 0.6) {
        recorder.call("get_goods_receipt", &order, Reply::ok(paper.goods_receipt()).after(0.4));
    }
}

fn approve(recorder: &mut Recorder, paper: &Paper) {
    let approval = numbered(recorder.rng, "AP");
    let total = paper.billed_total();
    let arguments =
        json!({ "invoice_id": paper.invoice_id, "quantity": paper.billed_quantity, "amount": total.units() });
    let body = json!({ "status": "approved", "approval_id": approval });
    recorder.call("approve_invoice", &arguments, Reply::ok(body).after(0.6));
    recorder.decide("approved", "invoice and purchase order agree and the vendor is approved", SOURCES);
    let invoice = &paper.invoice_id;
    let answer = match recorder.rng.u32(..3) {
        0 => format!(
            "Invoice {invoice} matches purchase order {} and is approved for {total}. The approval number is {approval}.",
            paper.order_id
        ),
        1 => format!(
            "Approved: {} units of {} for {total}. Invoice {invoice} matches purchase order {}. See {approval}.",
            paper.billed_quantity, paper.item, paper.order_id
        ),
        _ => format!(
            "I have released {total} to {}. Everything on {invoice} matches order {}, and the release is {approval}.",
            paper.vendor, paper.order_id
        ),
    };
    recorder.say(&answer);
}

fn reject(recorder: &mut Recorder, paper: &Paper, flaw: Flaw) {
    let reason = paper.objection(flaw);
    let arguments = json!({ "invoice_id": paper.invoice_id, "reason": reason });
    recorder.call("reject_invoice", &arguments, Reply::ok(json!({ "status": "rejected" })).after(0.5));
    recorder.decide("rejected", &reason, SOURCES);
    recorder.say(&format!("I have sent invoice {} back to {}: {reason}.", paper.invoice_id, paper.vendor));
    if happens(recorder.rng, 0.5) {
        ask_for_the_receipt(recorder, paper);
    }
}

fn ask_for_the_receipt(recorder: &mut Recorder, paper: &Paper) {
    recorder.user(&format!("Has anything arrived for {} yet?", paper.order_id));
    recorder.call(
        "get_goods_receipt",
        &json!({ "order_id": paper.order_id, "detail": "full" }),
        Reply::ok(paper.goods_receipt()),
    );
    recorder.say(&format!("Yes, the warehouse has received {} units of {}.", paper.ordered_quantity, paper.item));
}
