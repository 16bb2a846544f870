//! The audit log and tokens.

use driftline::backends::store::{Store, acting_as};
use driftline::domain::access::{Action, NewLogEntry};
use driftline::domain::alert::{Acknowledgement, AlertState, Amendment};
use sqlx::{AnyConnection, Connection};

use super::contract;
use super::fixtures::{TestStore, alert, seconds};

contract!(
    the_audit_log_takes_lines_and_gives_none_up,
    a_change_is_noted_with_who_made_it_and_one_that_changed_nothing_is_not,
    a_store_that_is_only_read_notes_that_it_is_read,
);

fn read(subject: &str) -> NewLogEntry {
    NewLogEntry { action: Action::Read, subject: subject.to_owned(), detail: "a\0b".to_owned() }
}

async fn the_audit_log_takes_lines_and_gives_none_up(it: TestStore) {
    it.store.note(&[read("t1"), read("t2")], seconds(1)).await.unwrap();
    let mut connection = AnyConnection::connect(&it.url).await.unwrap();
    let mut changes =
        vec!["UPDATE audit_log SET actor = 'no one'", "DELETE FROM audit_log", "DELETE FROM audit_log WHERE id = 1"];
    if it.url.starts_with("sqlite") {
        changes
            .push("INSERT OR REPLACE INTO audit_log SELECT id, at, 'no one', action, subject, detail FROM audit_log");
    }
    for change in changes {
        let error = sqlx::query(change).execute(&mut connection).await.unwrap_err().to_string();
        assert!(error.contains("the audit log is only added to"), "{change}: {error}");
    }
    let log = it.store.audit_log(seconds(0), 10).await.unwrap();
    assert_eq!(log.iter().map(|line| line.subject.as_str()).collect::<Vec<_>>(), ["t2", "t1"]);
    assert_eq!(log[0].detail, "a\u{fffd}b");
    assert!(it.store.audit_log(seconds(2), 10).await.unwrap().is_empty());
}

async fn a_change_is_noted_with_who_made_it_and_one_that_changed_nothing_is_not(it: TestStore) {
    it.store.put_alert(&alert("f1", "shop", AlertState::Firing, seconds(0)), seconds(0)).await.unwrap();
    let acknowledgement = Acknowledgement { by: "anna".to_owned(), at: seconds(5), note: None };
    let amendment = Amendment::Acknowledge(acknowledgement);
    acting_as("phone".into(), it.store.amend_alert("f1", &amendment, seconds(5))).await.unwrap();
    it.store.amend_alert("unknown", &amendment, seconds(6)).await.unwrap();
    let log = it.store.audit_log(seconds(0), 10).await.unwrap();
    let told: Vec<_> = log.iter().map(|line| (line.action, &*line.actor, &*line.subject, &*line.detail)).collect();
    assert_eq!(told, [(Action::Acknowledge, "phone", "f1", "by anna")]);
}

async fn a_store_that_is_only_read_notes_that_it_is_read(it: TestStore) {
    let reader = Store::open(&it.url, true).await.unwrap();
    reader.note(&[read("t1")], seconds(1)).await.unwrap();
    assert_eq!(it.store.audit_log(seconds(0), 10).await.unwrap().len(), 1);
}
