//! Every storage backend held to the contract suite, one test per case and backend.
//!
//! The cases are in `streamkeeper::storage::contract`; this file only says which backends there are, and with which
//! settings they take other paths through the engine.

use streamkeeper::broker::{Broker, BrokerOptions};
use streamkeeper::storage::contract::Subject;
use streamkeeper::types::{Clock, CreateOptions, StorageKind};

#[path = "../examples/custom_storage.rs"]
#[expect(dead_code, reason = "its `main` runs the same suite")]
mod custom_storage;

/// The broker with one of its backends, in a directory of its own. For one case: each test makes its own.
struct BrokerSubject {
    directory: tempfile::TempDir,
    storage: StorageKind,
    tune: fn(&mut BrokerOptions),
}

impl BrokerSubject {
    fn new(storage: StorageKind, tune: fn(&mut BrokerOptions)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Self {
            directory,
            storage,
            tune,
        }
    }
}

impl Subject for BrokerSubject {
    type Storage = Broker;

    async fn open(&self, clock: Clock) -> Broker {
        let mut options = BrokerOptions::in_directory(self.directory.path());
        options.clock = clock;
        (self.tune)(&mut options);
        Broker::open(options).await.expect("the broker opens")
    }

    async fn reopen(&self, storage: Broker, clock: Clock) -> Option<Broker> {
        storage.close_all().await;
        drop(storage);
        match self.storage {
            StorageKind::Durable => Some(self.open(clock).await),
            StorageKind::Memory => None,
        }
    }

    fn options(&self) -> CreateOptions {
        CreateOptions {
            storage: self.storage,
            ..CreateOptions::default()
        }
    }
}

/// On disk, as served by default: what a case appends is read from the hot tail.
mod durable {
    use super::{BrokerSubject, StorageKind};

    streamkeeper::contract_tests!(BrokerSubject::new(StorageKind::Durable, |_| ()));
}

/// On disk, where everything is folded at once: what a case appends is read from the store.
mod durable_folded {
    use super::{BrokerSubject, StorageKind};

    streamkeeper::contract_tests!(BrokerSubject::new(StorageKind::Durable, |options| {
        options.fold_bytes = 1;
    }));
}

/// In memory.
mod memory {
    use super::{BrokerSubject, StorageKind};

    streamkeeper::contract_tests!(BrokerSubject::new(StorageKind::Memory, |_| ()));
}

/// The backend that the example shows how to write.
mod custom {
    use super::custom_storage::LogFiles;

    streamkeeper::contract_tests!(LogFiles::new().expect("a temporary directory can be made"));
}
