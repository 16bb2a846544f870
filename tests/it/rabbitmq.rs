//! The consumer on a real broker.

use std::error::Error as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use driftline::backends::rabbitmq::{
    DeadLetter, DeadLetters, Delivery, NewMessage, RabbitMqConsumer, RabbitMqError, RabbitMqPublisher,
};
use driftline::domain::access::Action;
use driftline::domain::time::Timestamp;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::service::fixtures::eventually;
use crate::stores::fixtures::TestStore;
use crate::support::broker::Other;
use crate::support::proxy::Proxy;
use crate::support::services::{RabbitMq, TlsRabbitMq, fresh_name, rabbitmq};

/// Longer than anything that is expected to happen takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to look for what must not happen.
const MOMENT: Duration = Duration::from_millis(300);

async fn consumer(queue: &str, prefetch: u16) -> RabbitMqConsumer {
    RabbitMqConsumer::connect(&rabbitmq().amqp_url, queue, prefetch).await.unwrap()
}

/// Waits until this many messages have come, in however many batches.
async fn receive(consumer: &mut RabbitMqConsumer, messages: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < messages {
        let batch = consumer.next_batch(messages - deliveries.len(), PATIENCE).await.unwrap();
        assert!(!batch.is_empty(), "{} of {messages} messages came", deliveries.len());
        deliveries.extend(batch);
    }
    deliveries
}

fn bodies(deliveries: &[Delivery]) -> Vec<&[u8]> {
    deliveries.iter().map(|delivery| delivery.body.as_slice()).collect()
}

#[tokio::test]
async fn what_the_collector_publishes_arrives_once_it_is_acknowledged_and_in_order() {
    let queue = fresh_name("queue");
    let mut consumer = consumer(&queue, 100).await;
    let large = vec![b'x'; 1_000_000];
    Other::connect().await.publish(&queue, &[b"one", b"", &large]).await;
    let deliveries = receive(&mut consumer, 3).await;
    assert_eq!(bodies(&deliveries), [b"one".as_slice(), b"", &large]);
    assert_eq!(consumer.ack(&deliveries).await, 3);
    assert_eq!(consumer.ack(&deliveries).await, 0, "an acknowledgement counts once");
    consumer.close().await.unwrap();
    assert_eq!(Other::connect().await.take(&queue).await, None);
}

#[tokio::test]
async fn a_batch_is_given_when_there_is_something_and_is_empty_when_there_is_nothing() {
    let queue = fresh_name("queue");
    let mut consumer = consumer(&queue, 100).await;
    assert!(consumer.next_batch(10, MOMENT).await.unwrap().is_empty());
    Other::connect().await.publish(&queue, &[b"one"]).await;
    let waiting = tokio::time::Instant::now();
    assert_eq!(consumer.next_batch(10, PATIENCE).await.unwrap().len(), 1);
    assert!(waiting.elapsed() < PATIENCE / 2, "a batch does not wait to be full");
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_out_at_a_time() {
    let queue = fresh_name("queue");
    let mut consumer = consumer(&queue, 2).await;
    Other::connect().await.publish(&queue, &[b"1", b"2", b"3"]).await;
    let first = receive(&mut consumer, 2).await;
    assert!(consumer.next_batch(1, MOMENT).await.unwrap().is_empty());
    consumer.ack(&first).await;
    assert_eq!(bodies(&receive(&mut consumer, 1).await), [b"3"]);
}

/// Waits until a consumer says that it gives nothing more.
async fn lost(consumer: &mut RabbitMqConsumer) {
    let told = async { while consumer.next_batch(1, MOMENT).await.is_ok() {} };
    assert!(timeout(PATIENCE, told).await.is_ok(), "a lost connection is not told of");
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_when_the_connection_is_cut() {
    let queue = fresh_name("queue");
    let proxy = Proxy::start(&rabbitmq().address).await;
    let url = proxy.instead_of(&rabbitmq().amqp_url);
    let mut cut_off = RabbitMqConsumer::connect(&url, &queue, 100).await.unwrap();
    let other = Other::connect().await;
    other.publish(&queue, &[b"done", b"lost"]).await;
    let deliveries = receive(&mut cut_off, 2).await;
    assert_eq!(cut_off.ack(&deliveries[..1]).await, 1);
    // The acknowledgement has reached the broker once it has let the next message through.
    other.publish(&queue, &[b"fence"]).await;
    receive(&mut cut_off, 1).await;

    proxy.cut();
    lost(&mut cut_off).await;
    assert!(!cut_off.is_connected());
    let mut consumer = RabbitMqConsumer::connect(&url, &queue, 100).await.unwrap();
    let mut again = receive(&mut consumer, 2).await;
    again.sort_by(|a, b| a.body.cmp(&b.body));
    assert_eq!(bodies(&again), [b"fence", b"lost".as_slice()]);
    assert_eq!(cut_off.ack(&deliveries[1..]).await, 0, "the old acknowledgement is void");
    assert_eq!(consumer.ack(&again).await, 2);
    other.publish(&queue, &[b"after"]).await;
    assert_eq!(bodies(&receive(&mut consumer, 1).await), [b"after"]);
}

#[tokio::test]
async fn a_dead_letter_carries_its_reason_and_leaves_its_queue() {
    let queue = fresh_name("queue");
    let mut consumer = consumer(&queue, 100).await;
    let other = Other::connect().await;
    other.publish(&queue, &[b"\xff\xfe not a trace", b"fine"]).await;
    let deliveries = receive(&mut consumer, 2).await;
    let reason = format!("neither protobuf nor JSON: {}", "é".repeat(100_000));
    consumer.mover().dead_letter(&deliveries[0], &reason).await.unwrap();
    consumer.close().await.unwrap();

    assert_eq!(other.take(&queue).await.unwrap().0, b"fine", "only the other message went back");
    assert_eq!(other.take(&queue).await, None);
    let (body, told) = other.take(&format!("{queue}.dead")).await.unwrap();
    assert_eq!(body, b"\xff\xfe not a trace");
    let told = told.unwrap();
    assert!(reason.starts_with(&told) && told.len() > 1_000, "{told}");
}

/// A queue with dead letters of these bodies, each with itself as the reason.
async fn queue_with_dead_letters(bodies: &[&str]) -> String {
    let queue = fresh_name("queue");
    let mut consumer = consumer(&queue, 100).await;
    let messages: Vec<&[u8]> = bodies.iter().map(|body| body.as_bytes()).collect();
    Other::connect().await.publish(&queue, &messages).await;
    for delivery in receive(&mut consumer, bodies.len()).await {
        consumer.mover().dead_letter(&delivery, &String::from_utf8_lossy(&delivery.body)).await.unwrap();
    }
    consumer.close().await.unwrap();
    queue
}

async fn dead_letters(queue: &str) -> DeadLetters {
    DeadLetters::open(&rabbitmq().amqp_url, queue).await.unwrap()
}

async fn reasons(queue: &str, limit: usize) -> (Vec<String>, u32) {
    let letters = dead_letters(queue).await;
    let (found, behind) = letters.list(limit).await.unwrap();
    letters.close().await.unwrap();
    (found.into_iter().map(|letter| letter.reason.unwrap()).collect(), behind)
}

#[tokio::test]
async fn dead_letters_may_be_looked_at_any_number_of_times_and_stay_in_their_order() {
    let queue = queue_with_dead_letters(&["one", "two", "three"]).await;
    for _ in 0..25 {
        assert_eq!(reasons(&queue, 2).await, (vec!["one".to_owned(), "two".to_owned()], 1));
    }
    assert_eq!(reasons(&queue, 10).await.0, ["one", "two", "three"]);
}

#[tokio::test]
async fn chosen_dead_letters_go_back_into_their_queue_and_the_others_stay() {
    let queue = queue_with_dead_letters(&["old 1", "new", "old 2", "old 3"]).await;
    let letters = dead_letters(&queue).await;
    let is_old = |letter: &DeadLetter| letter.reason.as_ref().is_some_and(|reason| reason.contains("old"));
    assert_eq!(letters.replay(2, is_old).await.unwrap(), 2);
    letters.close().await.unwrap();
    let mut consumer = consumer(&queue, 100).await;
    assert_eq!(bodies(&receive(&mut consumer, 2).await), [b"old 1", b"old 2"]);
    assert_eq!(reasons(&queue, 10).await.0, ["new", "old 3"]);
}

#[tokio::test]
async fn a_dead_letter_that_its_queue_does_not_take_stays_one() {
    let queue = queue_with_dead_letters(&["one"]).await;
    let options = QueueDeleteOptions::default();
    Other::connect().await.channel.queue_delete(ShortString::from(queue.as_str()), options).await.unwrap();
    let letters = dead_letters(&queue).await;
    let error = letters.replay(10, |_| true).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::Publish { .. }), "{error:?}");
    drop(letters);
    assert_eq!(reasons(&queue, 10).await.0, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_reads_nothing_more_is_not_waited_for_and_the_dead_letter_stays() {
    let broker = tokio::task::block_in_place(RabbitMq::start);
    let mut consumer = RabbitMqConsumer::connect(&broker.amqp_url, "queue", 10).await.unwrap();
    Other::connect_to(&broker.amqp_url).await.publish("queue", &[b"one"]).await;
    let deliveries = receive(&mut consumer, 1).await;
    consumer.mover().dead_letter(&deliveries[0], "one").await.unwrap();
    let letters = DeadLetters::open(&broker.amqp_url, "queue").await.unwrap();
    broker.ctl(&["set_vm_memory_high_watermark", "0"]);
    let is_out = async || broker.ctl(&["eval", "rabbit_alarm:get_alarms()."]).contains("memory").then_some(());
    eventually("a broker without memory", is_out).await;
    let replayed = tokio::time::timeout(PATIENCE * 2, letters.replay(1, |_| true)).await.expect("it does not wait");
    assert!(matches!(replayed, Err(RabbitMqError::Timeout)), "{replayed:?}");
}

/// What `driftline dead-letters` says, with this queue and this store in its settings.
fn dead_letters_command(queue: &str, store: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .arg("dead-letters")
        .args(arguments)
        .env("DRIFTLINE__QUEUE__URL", &rabbitmq().amqp_url)
        .env("DRIFTLINE__QUEUE__NAME", queue)
        .env("DRIFTLINE__STORE__URL", store)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_dead_letters_without_letting_them_touch_the_terminal_and_puts_them_back() {
    let queue = queue_with_dead_letters(&["\x1b[2Jred", "broken"]).await;
    let store = TestStore::sqlite().await;
    let command = |arguments: &[&str]| dead_letters_command(&queue, &store.url, arguments);
    let listed = command(&["list"]);
    assert!(listed.contains("broken") && listed.contains("\\x1b[2Jred"), "{listed}");
    assert!(!listed.contains('\x1b'), "{listed:?}");
    let limited = command(&["list", "--limit", "1"]);
    assert!(limited.contains("1 more behind"), "{limited}");
    assert_eq!(command(&["replay", "--reason", "broken"]), format!("1 message went back into {queue}\n"));
    assert_eq!(command(&["replay"]), format!("1 message went back into {queue}\n"));
    assert_eq!(command(&["list"]), format!("no dead letters: {queue}.dead is empty\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_dead_letters_begin_is_noted_by_their_digests_before_it_is_shown() {
    let queue = queue_with_dead_letters(&["one", "two"]).await;
    let store = TestStore::sqlite().await;
    let listed = dead_letters_command(&queue, &store.url, &["list", "--json"]);
    let log = store.store.audit_log(Timestamp(0), 10).await.unwrap();
    let noted: Vec<_> = log.iter().rev().map(|entry| (entry.action, entry.subject.as_str(), &*entry.detail)).collect();
    let detail = format!("dead letter of {queue}");
    // printf one | sha256sum
    let one = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    assert_eq!((noted.len(), noted[0]), (2, (Action::Read, one, detail.as_str())));
    assert!(noted.iter().all(|(_, digest, _)| listed.contains(digest)), "{listed}");
}

#[tokio::test]
async fn a_consumer_whose_dead_letters_cannot_leave_ends() {
    let proxy = Proxy::start(&rabbitmq().address).await;
    let url = proxy.instead_of(&rabbitmq().amqp_url);
    let mut consumer = RabbitMqConsumer::connect(&url, &fresh_name("queue"), 100).await.unwrap();
    assert!(consumer.is_connected());
    // What leaves has a connection of its own, which is made before the other.
    proxy.cut_first();
    lost(&mut consumer).await;
    assert!(!consumer.is_connected());
}

#[tokio::test]
async fn a_dead_letter_that_a_cut_connection_did_not_take_comes_again_and_is_taken_then() {
    let queue = fresh_name("queue");
    let proxy = Proxy::start(&rabbitmq().address).await;
    let url = proxy.instead_of(&rabbitmq().amqp_url);
    let mut cut_off = RabbitMqConsumer::connect(&url, &queue, 100).await.unwrap();
    let other = Other::connect().await;
    other.publish(&queue, &[b"bad"]).await;
    let deliveries = receive(&mut cut_off, 1).await;
    proxy.cut();
    lost(&mut cut_off).await;
    cut_off.mover().dead_letter(&deliveries[0], "bad").await.unwrap_err();
    let mut consumer = RabbitMqConsumer::connect(&url, &queue, 100).await.unwrap();
    let deliveries = receive(&mut consumer, 1).await;
    consumer.mover().dead_letter(&deliveries[0], "bad").await.unwrap();
    assert_eq!(other.take(&format!("{queue}.dead")).await, Some((b"bad".to_vec(), Some("bad".to_owned()))));
}

#[tokio::test]
async fn a_message_stays_where_it_is_when_there_is_no_dead_letter_queue() {
    let queue = fresh_name("queue");
    let mut consumer = consumer(&queue, 100).await;
    let other = Other::connect().await;
    other.publish(&queue, &[b"bad"]).await;
    let deliveries = receive(&mut consumer, 1).await;
    let dead_queue = ShortString::from(format!("{queue}.dead"));
    other.channel.queue_delete(dead_queue, QueueDeleteOptions::default()).await.unwrap();
    let error = consumer.mover().dead_letter(&deliveries[0], "bad").await.unwrap_err();
    assert!(matches!(error, RabbitMqError::Publish { .. }), "{error:?}");
    consumer.close().await.unwrap();
    assert_eq!(other.take(&queue).await.unwrap().0, b"bad");
}

#[tokio::test]
async fn a_queue_that_exists_with_other_arguments_is_used_as_it_is() {
    let queue = fresh_name("queue");
    let other = Other::connect().await;
    let declared =
        other.channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default());
    declared.await.unwrap();
    other.publish(&queue, &[b"one"]).await;
    let mut consumer = consumer(&queue, 100).await;
    let deliveries = receive(&mut consumer, 1).await;
    consumer.mover().dead_letter(&deliveries[0], "as it is").await.unwrap();
    assert_eq!(other.take(&format!("{queue}.dead")).await.unwrap().0, b"one");
}

#[tokio::test]
async fn what_is_not_acknowledged_goes_back_when_the_consumer_closes() {
    let queue = fresh_name("queue");
    let mut first = consumer(&queue, 100).await;
    Other::connect().await.publish(&queue, &[b"1", b"2"]).await;
    let deliveries = receive(&mut first, 2).await;
    first.ack(&deliveries[..1]).await;
    first.close().await.unwrap();
    let mut second = consumer(&queue, 100).await;
    assert_eq!(bodies(&receive(&mut second, 1).await), [b"2"]);
}

#[tokio::test]
async fn a_consumer_whose_queue_is_gone_says_so() {
    let queue = fresh_name("queue");
    let mut consumer = consumer(&queue, 100).await;
    let other = Other::connect().await;
    other.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let error = consumer.next_batch(1, PATIENCE).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::Ended { .. }), "{error:?}");
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_an_error_without_its_password() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let Err(error) = RabbitMqConsumer::connect(&format!("amqp://user:secret@{nobody}"), "queue", 1).await else {
        panic!("nobody answered");
    };
    assert!(matches!(error, RabbitMqError::Connect(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
    let long = "q".repeat(250);
    let refused = RabbitMqConsumer::connect(&rabbitmq().amqp_url, &long, 1).await;
    assert!(matches!(refused.err(), Some(RabbitMqError::QueueName { .. })));
}

/// What connecting to a broker of this address says when it fails.
async fn refusal(url: &str) -> RabbitMqError {
    RabbitMqConsumer::connect(url, "queue", 1).await.err().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_known_by_its_authority_over_tls_also_when_the_connection_was_cut() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let broker = tokio::task::block_in_place(TlsRabbitMq::start);
    let proxy = Proxy::start(&broker.address).await;
    let known_by = |path: &Path| format!("{}?cacertfile={}", proxy.instead_of(&broker.url), path.display());
    let url = known_by(&broker.authority);
    let publisher = Arc::new(RabbitMqPublisher::new(&url, "queue").unwrap());
    let connecting = Arc::clone(&publisher);
    let staying = tokio::spawn(async move {
        loop {
            connecting.stay_connected().await.unwrap_err();
        }
    });
    for round in ["before", "after"] {
        let body = round.as_bytes();
        let publish = async || {
            let (content, content_type, name) = ("traces", "application/json", round.to_owned());
            publisher.publish(NewMessage { content, content_type, name, body: body.to_vec() }).await.ok()
        };
        eventually("a way to the broker", publish).await;
        let mut consumer = RabbitMqConsumer::connect(&url, "queue", 10).await.unwrap();
        // An acknowledgement that the cut overtook leaves its message with the broker, which then delivers it again.
        loop {
            let deliveries = receive(&mut consumer, 1).await;
            consumer.ack(&deliveries).await;
            if bodies(&deliveries) == [body] {
                break;
            }
            assert_eq!(bodies(&deliveries), [b"before"]);
        }
        proxy.cut();
    }
    staying.abort();

    let other = refusal(&known_by(&broker.other_authority)).await;
    let public = refusal(&broker.url).await;
    for error in [other, public] {
        assert!(matches!(error, RabbitMqError::Connect(_)), "{error:?}");
        assert!(error.source().unwrap().to_string().contains("certificate"), "{error:?}");
    }
    for unusable in [Path::new("/nonexistent/ca.pem"), Path::new(file!())] {
        let error = refusal(&known_by(unusable)).await;
        assert!(matches!(error, RabbitMqError::Authority { .. }), "{error:?}");
        assert!(error.to_string().contains(&unusable.display().to_string()), "{error}");
    }
}
