//! The fare rules of the fictional airline.

/// A fare and the numbers in its rules.
#[derive(Debug, PartialEq)]
pub(crate) struct Fare {
    /// The name customers know.
    pub(crate) name: &'static str,
    /// Hours after purchase in which a cancellation is free.
    free_hours: u32,
    /// Fee kept for a later cancellation, in euros.
    pub(crate) fee: u32,
    /// Working days until the money is back.
    refund_days: u32,
    /// Fee for another date, in euros.
    change_fee: u32,
    extra: &'static str,
}

/// Every fare on sale.
pub(crate) const FARES: [Fare; 5] = [
    Fare {
        name: "Light",
        free_hours: 24,
        fee: 45,
        refund_days: 10,
        change_fee: 60,
        extra: "Seats and checked bags are bought apart and are not refunded.",
    },
    Fare {
        name: "Classic",
        free_hours: 24,
        fee: 30,
        refund_days: 7,
        change_fee: 40,
        extra: "A checked bag is part of the fare and is refunded with it.",
    },
    Fare {
        name: "Family",
        free_hours: 48,
        fee: 20,
        refund_days: 7,
        change_fee: 25,
        extra: "The rules hold for all travellers of the booking together.",
    },
    Fare {
        name: "Flex",
        free_hours: 72,
        fee: 12,
        refund_days: 5,
        change_fee: 8,
        extra: "Changes at the airport desk follow the same rules.",
    },
    Fare {
        name: "Island Resident",
        free_hours: 48,
        fee: 18,
        refund_days: 10,
        change_fee: 16,
        extra: "Proof of residence is asked for at the gate.",
    },
];

impl Fare {
    /// The passage that `get_fare_rules` returns.
    pub(crate) fn passage(&self) -> String {
        format!(
            "Fare rules, {}. A booking may be cancelled free of charge within {} hours of purchase. Later \
             cancellations keep a fee of EUR {} per booking, and the rest goes back to the original form of payment \
             within {} working days. Another travel date costs EUR {} plus any difference in fare. {}",
            self.name, self.free_hours, self.fee, self.refund_days, self.change_fee, self.extra
        )
    }

    /// What the fare's rules truly say.
    pub(crate) const fn quote(&self) -> Quote {
        Quote { free_hours: self.free_hours, fee: self.fee, refund_days: self.refund_days }
    }

    /// What a hurried reader might say: one of the numbers is wrong, and stands in no fare's rules.
    pub(crate) fn misquote(&self, rng: &mut fastrand::Rng) -> Quote {
        let truth = self.quote();
        match rng.u32(..3) {
            0 => Quote { free_hours: truth.free_hours * 2 + 15, ..truth },
            1 => Quote { fee: truth.fee + 77, ..truth },
            _ => Quote { refund_days: truth.refund_days * 3 + 2, ..truth },
        }
    }
}

/// The numbers of an answer about fare rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quote {
    /// Hours of free cancellation.
    pub(crate) free_hours: u32,
    /// Fee in euros.
    pub(crate) fee: u32,
    /// Working days until the refund.
    pub(crate) refund_days: u32,
}

/// The whole fare policy of the simulated airline, as its owner would give it to a policy judge.
#[must_use]
pub fn policy_document() -> String {
    FARES.iter().map(Fare::passage).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misquote_holds_a_number_that_stands_in_no_rule() {
        let mut rng = fastrand::Rng::with_seed(1);
        let policy = policy_document();
        let numbers: Vec<&str> = policy.split(|c: char| !c.is_ascii_digit()).collect();
        for fare in FARES.iter().cycle().take(60) {
            let Quote { free_hours, fee, refund_days } = fare.misquote(&mut rng);
            let stated = [free_hours, fee, refund_days].map(|number| numbers.contains(&number.to_string().as_str()));
            assert_eq!(stated.iter().filter(|is_stated| !**is_stated).count(), 1, "{}", fare.name);
        }
    }
}
