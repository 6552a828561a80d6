//! The example in the documentation of the crate, step by step.

use bytes::Bytes;

use crate::engine::tests::driver::{Driver, Ending, put};
use crate::error::Error;
use crate::log::format::{Place, Position};
use crate::model::{Durability, Event, Outcome, Range};
use crate::store::Store;

fn place(offset: u32, length: u32) -> Place {
    Place { position: Position::new(1, offset), length }
}

#[tokio::test]
async fn it_happens_as_the_documentation_says() {
    for ending in [Ending::Kill, Ending::PowerCut] {
        let mut driver = Driver::new(1);
        driver.open().unwrap();
        let store = driver.store().clone();
        assert_eq!(store.log_end(), 128);
        assert_eq!(store.txn(put("a", "one", Durability::Durable)).await.unwrap(), Outcome::Done(2));
        assert_eq!(store.state.index.newest(b"a").unwrap().unwrap().place, place(192, 60));
        assert_eq!(store.log_end(), 256);
        assert_eq!(store.txn(put("a", "two", Durability::Relaxed)).await.unwrap(), Outcome::Done(3));
        assert_eq!((store.revision(), store.durable_revision()), (3, 2));
        assert_eq!(store.state.index.newest(b"a").unwrap().unwrap().place, place(320, 60));
        let before = store.state.log.read(place(320, 60)).unwrap().unwrap().head.previous.unwrap();
        assert_eq!((before.revision, before.place), (2, place(192, 60)));
        let past = store.range(Range { at: Some(2), ..Range::default() }).await.unwrap();
        assert_eq!(past.items[0].value, "one");
        drop(store);

        if ending == Ending::PowerCut {
            driver.lose_unsynced();
        }
        driver.end(Ending::Kill).await.unwrap();
        driver.open().unwrap();
        let store = driver.store();
        let mut watch = store.watch(Bytes::from("a"), Some(2)).await.unwrap();
        let (revision, tells) = if ending == Ending::Kill { (3, vec![2, 3, 4]) } else { (65_538, vec![2, 65_539]) };
        assert_eq!(store.revision(), revision);
        if ending == Ending::PowerCut {
            let late = store.watch(Bytes::from("a"), Some(4)).await;
            assert!(matches!(late, Err(Error::Compacted { asked: 4, oldest: 65_538 })), "{late:?}");
        }
        assert_eq!(store.txn(put("a", "three", Durability::Durable)).await.unwrap(), Outcome::Done(revision + 1));
        for expected in tells {
            let batch = watch.next().await.unwrap().unwrap();
            assert_eq!(batch.revision, expected);
            assert!(matches!(&batch.events[..], [Event::Put { .. }]));
        }
        store.compact(revision + 1).await.unwrap();
        let past = store.range(Range { at: Some(2), ..Range::default() }).await;
        assert!(matches!(past, Err(Error::Compacted { asked: 2, .. })), "{past:?}");
    }
}
