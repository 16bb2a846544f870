//! An invoice and the records it is compared with.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::simulate::chance::{Cents, log_normal, numbered, pick};

const ITEMS: [&str; 14] = [
    "desk lamps",
    "oak shelves",
    "printer drums",
    "safety gloves",
    "stainless pans",
    "linen sheets",
    "network cables",
    "coffee grinders",
    "work boots",
    "steel brackets",
    "filter cartridges",
    "paint rollers",
    "floor mats",
    "batteries",
];
const VENDOR_NAMES: [&str; 12] = [
    "Harrow",
    "Copperfield",
    "Northgate",
    "Elmstead",
    "Marlow",
    "Ashdown",
    "Kestrel",
    "Fenwick",
    "Redbridge",
    "Stonely",
    "Hollin",
    "Thornbury",
];
const VENDOR_KINDS: [&str; 5] = ["Supplies", "Trading", "Wholesale", "Works", "Brothers"];

/// What is truly wrong with an invoice; the agent is meant to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A few units more than ordered.
    Quantity,
    /// A higher unit price than agreed.
    Price,
    /// The vendor is not approved.
    Vendor,
}

/// One invoice, its order and its vendor.
#[derive(Debug, Clone)]
pub(crate) struct Paper {
    pub(crate) invoice_id: String,
    pub(crate) order_id: String,
    pub(crate) vendor: String,
    pub(crate) item: &'static str,
    pub(crate) ordered_quantity: u64,
    pub(crate) billed_quantity: u64,
    ordered_price: Cents,
    billed_price: Cents,
    pub(crate) flaw: Option<Flaw>,
}

impl Paper {
    /// An invoice of usual size: its total is within an order of magnitude of every other one's.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let ordered_quantity = rng.u64(8..=30);
        let ordered_price = Cents(log_normal(rng, 6_400.0, 0.3) as u64);
        let flaw = match rng.u32(..100) {
            0..7 => Some(Flaw::Quantity),
            7..12 => Some(Flaw::Price),
            12..18 => Some(Flaw::Vendor),
            _ => None,
        };
        let surplus = if flaw == Some(Flaw::Quantity) { rng.u64(1..=4) } else { 0 };
        let markup = if flaw == Some(Flaw::Price) { rng.u64(200..900) } else { 0 };
        Self {
            invoice_id: numbered(rng, "INV"),
            order_id: numbered(rng, "PO"),
            vendor: format!("{} {}", pick(rng, &VENDOR_NAMES), pick(rng, &VENDOR_KINDS)),
            item: pick(rng, &ITEMS),
            ordered_quantity,
            billed_quantity: ordered_quantity + surplus,
            ordered_price,
            billed_price: Cents(ordered_price.0 + markup),
            flaw,
        }
    }

    /// The sum the vendor asks for.
    pub(crate) fn billed_total(&self) -> Cents {
        Cents(self.billed_price.0 * self.billed_quantity)
    }

    /// What `get_invoice` returns.
    pub(crate) fn invoice(&self) -> Value {
        json!({
            "invoice_id": self.invoice_id, "order_id": self.order_id, "vendor": self.vendor, "item": self.item,
            "quantity": self.billed_quantity, "unit_price": self.billed_price.units(),
            "total": self.billed_total().units(), "currency": "EUR",
        })
    }

    /// What `get_purchase_order` returns.
    pub(crate) fn order(&self) -> Value {
        let total = Cents(self.ordered_price.0 * self.ordered_quantity);
        json!({
            "order_id": self.order_id, "vendor": self.vendor, "item": self.item, "quantity": self.ordered_quantity,
            "unit_price": self.ordered_price.units(), "total": total.units(), "currency": "EUR", "status": "open",
        })
    }

    /// What `check_vendor` returns.
    pub(crate) fn vendor_entry(&self) -> Value {
        let status = if self.flaw == Some(Flaw::Vendor) { "suspended" } else { "approved" };
        json!({ "vendor": self.vendor, "status": status, "payment_terms": "net 30 days" })
    }

    /// What `get_goods_receipt` returns.
    pub(crate) fn goods_receipt(&self) -> Value {
        json!({ "order_id": self.order_id, "received_units": self.ordered_quantity, "condition": "good" })
    }

    /// Why the invoice goes back, in words that hold only numbers of the records.
    pub(crate) fn objection(&self, flaw: Flaw) -> String {
        match flaw {
            Flaw::Quantity => {
                format!("it bills {} units and {} were ordered", self.billed_quantity, self.ordered_quantity)
            }
            Flaw::Price => format!("it bills {} a unit and {} was agreed", self.billed_price, self.ordered_price),
            Flaw::Vendor => "the vendor is suspended in the register".to_owned(),
        }
    }
}
