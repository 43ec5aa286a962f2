//! News for the task: the latest of each HAVIP and TEP, so that they are bounded by what there is, however slow the kernel.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bcast_domain::Tep;
use ctl_api::model::{Event, Name};
use tokio::sync::Notify;

use crate::route::{Gateways, Virtual};

/// Changes since the last call.
#[derive(Default)]
pub struct News {
    pub havips: HashMap<Name, Option<Virtual>>,
    pub teps: HashMap<Tep, Gateways>,
    /// Somebody has told the whole state, so that what is not in it can be removed.
    pub loaded: bool,
    /// The task shall end.
    pub stop: bool,
}

/// Mailbox of changes for the task.
#[derive(Default)]
pub struct Mailbox {
    news: Mutex<News>,
    arrived: Notify,
}

impl Mailbox {
    /// Puts what was committed; wakes the task.
    pub fn put<'e>(&self, events: impl IntoIterator<Item = &'e Event>) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            match event {
                Event::HavipSet(entry) => {
                    news.havips.insert(entry.havip.name.clone(), Some(Virtual::from(&**entry)));
                }
                Event::HavipDeleted(name) => {
                    news.havips.insert(name.clone(), None);
                }
                Event::TepSet(entry) => {
                    news.teps.insert(entry.address, Gateways::from(entry));
                }
                Event::TepDeleted(tep) => {
                    news.teps.insert(*tep, Gateways::default());
                }
                Event::DomainSet(_) | Event::DomainDeleted(_) | Event::HavipEvent(_) => {}
            }
        }
        news.loaded = true;
        drop(news);
        self.arrived.notify_one();
    }

    /// Asks the task to end.
    pub fn stop(&self) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.arrived.notify_one();
    }

    /// Waits until there is something.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// All that is there.
    pub fn take(&self) -> News {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
