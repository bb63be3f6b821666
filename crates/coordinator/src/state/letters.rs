//! The writer of dead letters: groups what has come, makes it durable, then settles it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use meshloom_core::origin::Deliveries;
use tokio::sync::mpsc;

use super::letter_file::{LetterRecord, StoreLetters, now_nanos};
use crate::flow::LetterNote;

/// Most letters in one write.
const GROUP: usize = 1024;
/// Time between attempts while the store refuses. Letters wait meanwhile, and with them their sources.
const AGAIN: Duration = Duration::from_secs(1);

/// Letters that were stored, by node and reason.
pub(crate) type Stored = BTreeMap<(String, String), u64>;

/// Stores letters until every sender is gone, and counts them. Nothing settles before it is durable.
pub(crate) async fn run_letters(mut store: Box<dyn StoreLetters>, mut notes: mpsc::Receiver<LetterNote>) -> Stored {
    let mut stored = Stored::new();
    let mut group = Vec::with_capacity(GROUP);
    while notes.recv_many(&mut group, GROUP).await > 0 {
        let (records, deliveries) = records(std::mem::take(&mut group));
        let records = Arc::new(records);
        loop {
            let job = records.clone();
            let written = tokio::task::spawn_blocking(move || {
                let result = store.append(&job);
                (store, result)
            });
            let Ok((returned, result)) = written.await else { return stored };
            store = returned;
            match result {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!("{} dead letters cannot be stored and wait: {error}", records.len());
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        for record in records.iter() {
            *stored.entry((record.node.clone(), record.reason.clone())).or_default() += 1;
        }
        deliveries.into_iter().for_each(Deliveries::settle);
    }
    stored
}

fn records(notes: Vec<LetterNote>) -> (Vec<LetterRecord>, Vec<Deliveries>) {
    let mut records = Vec::new();
    let mut deliveries = Vec::with_capacity(notes.len());
    let time = now_nanos();
    for LetterNote { node, letter } in notes {
        for row in 0..letter.batch.len() {
            let attempts = letter.attempts;
            records.push(LetterRecord::new(time, &node, &letter.batch, row, &letter.reason, &letter.message, attempts));
        }
        deliveries.push(letter.deliveries);
    }
    (records, deliveries)
}
