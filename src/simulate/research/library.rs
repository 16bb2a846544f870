//! The documents of a fictional region, and facts to ask about.

use fastrand::Rng;

use crate::simulate::chance::pick;
use crate::simulate::wire::Document;

const SUBJECTS: [&str; 24] = [
    "the Orrin Bay wind farm",
    "the Velisk rail tunnel",
    "the Tarnow tidal barrier",
    "the Kessel valley ferry",
    "the Port Almery shipyard",
    "the Lindow salt works",
    "the Brenna orchard belt",
    "the Skarholt hatchery",
    "the Ormsby textile quarter",
    "the Calder observatory",
    "the Mirefield peat reserve",
    "the Estrel tram network",
    "the Halvard timber port",
    "the Quillan glass factory",
    "the Pendry slate quarries",
    "the Isle of Corran dairy",
    "the Norwick heat grid",
    "the Dunmere reservoir",
    "the Ravensby rope works",
    "the Solva lifeboat service",
    "the Auster river locks",
    "the Tilbeck paper mill",
    "the Varra oyster beds",
    "the Upper Maren ski school",
];
const INSTITUTES: [&str; 12] = [
    "Coastal Records Office",
    "Maren Statistics Bureau",
    "Institute for Regional Accounts",
    "Estuary Survey",
    "Board of Public Works",
    "Almery Chamber of Trade",
    "Northern Heritage Society",
    "River and Harbour Review",
    "Council Audit Service",
    "Larch Hill Foundation",
    "Open Ledger Project",
    "Provincial Energy Desk",
];
/// Sources that stand in no document: what an ungrounded answer leans on.
const INVENTED_INSTITUTES: [&str; 5] = [
    "Lindqvist Observatory Report",
    "Global Benchmark Council",
    "Hartwell Commission",
    "Meridian Data Yearbook",
    "Continental Almanac",
];

/// A question and the two ends of the sentence that answers it, around a number.
struct Measure {
    question: &'static str,
    before: &'static str,
    after: &'static str,
    range: std::ops::Range<u32>,
}

const fn measure(
    question: &'static str,
    before: &'static str,
    after: &'static str,
    range: std::ops::Range<u32>,
) -> Measure {
    Measure { question, before, after, range }
}

const MEASURES: [Measure; 10] = [
    measure("How many people does {} employ?", "it employs", "people", 120..4800),
    measure("What did {} earn last year?", "it earned", "thousand crowns last year", 300..9000),
    measure("How many visitors does {} receive in a season?", "it receives", "visitors in a season", 1500..90_000),
    measure("How much did the last renewal of {} cost?", "the last renewal cost", "million crowns", 110..990),
    measure("How large is the area that {} covers?", "it covers", "hectares", 140..7000),
    measure("How many households rely on {}?", "it serves", "households", 800..60_000),
    measure("How much freight passes through {}?", "it moves", "tonnes of freight a month", 240..8800),
    measure("How many apprentices has {} trained so far?", "it has trained", "apprentices so far", 105..2600),
    measure("What is the yearly electricity use of {}?", "it uses", "megawatt hours a year", 350..9900),
    measure("How many complaints about {} were recorded?", "the register holds", "complaints about it", 101..900),
];

const FILLERS: [&str; 10] = [
    "The figures were collected by hand and checked against the ledgers of the harbour office.",
    "Earlier editions of this report used another method and should not be compared with it.",
    "Local papers followed the work closely, and opinion on it remains divided.",
    "The managers expect little change while the present agreement is in force.",
    "A second survey is planned once the new staff have been trained.",
    "The site was modernised in stages, beginning with the oldest buildings.",
    "Weather has more influence on the result than any decision of the board.",
    "Neighbouring districts report a similar course, if on a smaller scale.",
    "The council publishes its own account of the matter in the town hall.",
    "No part of the estimate depends on voluntary answers.",
];

/// One thing that the collection knows.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    subject: &'static str,
    measure: usize,
    value: u32,
    institute: &'static str,
}

impl Fact {
    /// Something to ask about.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let subject = pick(rng, &SUBJECTS);
        Self::about(subject, rng)
    }

    fn about(subject: &'static str, rng: &mut Rng) -> Self {
        let measure = rng.usize(..MEASURES.len());
        let value = rng.u32(MEASURES[measure].range.clone());
        Self { subject, measure, value, institute: pick(rng, &INSTITUTES) }
    }

    /// Another thing about the same subject.
    pub(crate) fn sibling(&self, rng: &mut Rng) -> Self {
        let other = Self::about(self.subject, rng);
        // The same question with another answer would make the documents disagree.
        if other.measure == self.measure {
            Self { measure: (self.measure + 1) % MEASURES.len(), ..other }
        } else {
            other
        }
    }

    /// This fact as a careless writer would put it: another figure or another source.
    pub(crate) fn distorted(&self, rng: &mut Rng) -> Self {
        if rng.bool() {
            Self { value: self.value * 3 + 100_007, ..self.clone() }
        } else {
            Self { institute: pick(rng, &INVENTED_INSTITUTES), ..self.clone() }
        }
    }

    /// What someone would ask to learn it.
    pub(crate) fn question(&self) -> String {
        MEASURES[self.measure].question.replace("{}", self.subject)
    }

    /// What someone would type into a search box.
    pub(crate) fn query(&self) -> String {
        format!("{} {}", self.subject.trim_start_matches("the "), MEASURES[self.measure].after)
    }

    /// What the fact is about.
    pub(crate) fn subject(&self) -> &'static str {
        self.subject
    }

    /// The claim alone.
    pub(crate) fn claim(&self) -> String {
        let Measure { before, after, .. } = &MEASURES[self.measure];
        format!("{before} {} {after}", grouped(self.value))
    }

    /// The claim with its source, as the answer states it.
    pub(crate) fn cited(&self, marker: usize) -> String {
        format!("According to the \"{}\", {} [{marker}].", self.institute, self.claim())
    }

    /// The document that states it.
    pub(crate) fn document(&self, rng: &mut Rng) -> Document {
        let name = self.subject.trim_start_matches("the ");
        let slug = name.to_lowercase().replace(' ', "-");
        let (opening, ending) = (pick(rng, &FILLERS), pick(rng, &FILLERS));
        Document {
            url: format!("https://reports.example/{slug}/{}", self.measure + 1),
            title: format!("A survey of {name}"),
            content: format!(
                "This note by the {} concerns {}. {opening} At present {}. {ending}",
                self.institute,
                self.subject,
                self.claim()
            ),
        }
    }
}

/// A long page with nothing to the point, as a run that reads without end collects them.
pub(crate) fn long_page(rng: &mut Rng) -> String {
    (0..rng.u32(26..34)).map(|_| pick(rng, &FILLERS)).collect::<Vec<_>>().join(" ")
}

/// A number with commas between thousands.
fn grouped(value: u32) -> String {
    if value < 1000 { value.to_string() } else { format!("{},{:03}", grouped(value / 1000), value % 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_002), "1,002");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn a_distorted_fact_says_what_its_document_does_not() {
        let mut rng = Rng::with_seed(3);
        for _ in 0..100 {
            let fact = Fact::draw(&mut rng);
            let content = fact.document(&mut rng).content;
            let distorted = fact.distorted(&mut rng);
            assert!(content.contains(&fact.claim()) && content.contains(fact.institute));
            assert!(!content.contains(&distorted.claim()) || !content.contains(distorted.institute));
        }
    }
}
