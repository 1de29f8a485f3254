//! Cases of `subscribe`: what is told, in what order, coalesced but never lost.

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::Subject;
use super::fixture::{
    Expect as _, Fixture, Ran, Stop, and_close, at, block, ensure, follow_to, pending, same, soon,
    together,
};
use crate::storage::{Changes as _, Notification, Storage as _};
use crate::types::{AppendOptions, Error, Offset, Refusal, Start};

pub(super) async fn a_subscriber_is_told_of_an_append<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut changes = f.subscribe().await?;
    for payload in ["a", "bc", "def"] {
        let tail = f.append(&[payload]).await?.tail;
        let change = soon("the notification", changes.next()).await?;
        same("the notification", &change, &Notification::Appended(tail))?;
    }
    Ok(())
}

pub(super) async fn a_waiting_subscriber_is_woken<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut changes = f.subscribe().await?;
    let mut next = pin!(changes.next());
    pending("a subscription of a quiet stream", next.as_mut()).await?;
    let tail = f.append(&["a"]).await?.tail;
    let change = soon("the notification", next).await?;
    same("the notification", &change, &Notification::Appended(tail))
}

pub(super) async fn a_subscriber_is_told_nothing_of_before<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    f.append_each(&["a", "b"]).await?;
    let mut changes = f.subscribe().await?;
    pending("a fresh subscription", pin!(changes.next())).await?;
    f.close().await?;
    let mut of_closed = f.subscribe().await?;
    pending(
        "a fresh subscription of a closed stream",
        pin!(of_closed.next()),
    )
    .await
}

pub(super) async fn a_slow_subscriber_is_told_the_newest<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut changes = f.subscribe().await?;
    f.append_each(&["a", "b", "c"]).await?;
    let tail = f.append(&["d"]).await?.tail;
    let change = soon("the notification", changes.next()).await?;
    same(
        "the one notification of four appends",
        &change,
        &Notification::Appended(tail),
    )?;
    pending("a subscription that has caught up", pin!(changes.next())).await
}

pub(super) async fn a_subscriber_is_told_of_the_close<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut changes = f.subscribe().await?;
    let tail = f.append(&["a"]).await?.tail;
    f.close().await?;
    follow_to(&mut changes, Notification::Closed(tail)).await?;
    f.close().await?;
    pending("a subscription after the close", pin!(changes.next())).await
}

pub(super) async fn a_subscriber_is_told_of_append_and_close<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut changes = f.subscribe().await?;
    let answer = f
        .try_append(&["a", "b"], and_close(AppendOptions::default()))
        .await;
    let tail = answer.accepted("append and close")?.tail;
    follow_to(&mut changes, Notification::Closed(tail)).await
}

pub(super) async fn a_subscriber_is_told_of_the_delete<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut open = f.subscribe().await?;
    f.append(&["a"]).await?;
    f.close().await?;
    let mut closed = f.subscribe().await?;
    f.delete().await?;
    follow_to(&mut open, Notification::Deleted).await?;
    follow_to(&mut closed, Notification::Deleted).await
}

pub(super) async fn deleted_is_told_again_and_again<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut changes = f.subscribe().await?;
    f.delete().await?;
    // The stream that takes the name is another one: nothing of it reaches this subscription.
    f.given().await?;
    f.append(&["new"]).await?;
    for _ in 0..3 {
        let change = soon("the notification", changes.next()).await?;
        same("the notification", &change, &Notification::Deleted)?;
    }
    Ok(())
}

pub(super) async fn every_subscriber_is_told<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut early = f.subscribe().await?;
    f.append(&["a"]).await?;
    let mut late = f.subscribe().await?;
    let dropped = f.subscribe().await?;
    drop(dropped);
    let tail = f.append(&["b"]).await?.tail;
    for changes in [&mut early, &mut late] {
        let change = soon("the notification", changes.next()).await?;
        same("the notification", &change, &Notification::Appended(tail))?;
    }
    Ok(())
}

pub(super) async fn a_cancelled_wait_loses_nothing<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut changes = f.subscribe().await?;
    for payload in ["a", "b"] {
        pending("a subscription of a quiet stream", pin!(changes.next())).await?;
        let tail = f.append(&[payload]).await?.tail;
        // Polled once and dropped, now that there is something to tell.
        let told = changes.next().now_or_never();
        let told = match told {
            Some(change) => change,
            None => soon("the notification", changes.next()).await?,
        };
        same("the notification", &told, &Notification::Appended(tail))?;
    }
    Ok(())
}

pub(super) async fn a_stream_created_again_has_its_own_subscribers<S: Subject>(
    f: Fixture<'_, S>,
) -> Ran {
    f.given().await?;
    f.append(&["old"]).await?;
    let mut old = f.subscribe().await?;
    f.delete().await?;
    f.given().await?;
    let mut new = f.subscribe().await?;
    pending("a fresh subscription of the new stream", pin!(new.next())).await?;
    let tail = f.append(&["new"]).await?.tail;
    let change = soon("the notification", new.next()).await?;
    same("the notification", &change, &Notification::Appended(tail))?;
    follow_to(&mut old, Notification::Deleted).await
}

pub(super) async fn what_is_told_can_be_read<S: Subject>(f: Fixture<'_, S>) -> Ran {
    const APPENDS: u64 = 200;
    f.given().await?;
    let mut changes = f.subscribe().await?;
    let (storage, stream) = (Arc::clone(&f.storage), f.stream.clone());
    let append_all = together(
        "the appender",
        [async move {
            for _ in 0..APPENDS {
                storage
                    .append(&stream, block(&["a", "b"]), AppendOptions::default())
                    .await?;
            }
            storage.close(&stream).await
        }],
    );
    let follow = async {
        loop {
            let change = soon("the next notification", changes.next()).await?;
            let (Notification::Appended(told) | Notification::Closed(told)) = change else {
                return ensure("a notification", "no delete", false);
            };
            ensure("the tail", "as told, or later", f.tail().await? >= told)?;
            let last = Start::At(Offset(told.offset.0.saturating_sub(1)));
            ensure(
                "a read",
                "to reach what was told",
                f.messages(last).await?.next >= told,
            )?;
            if change == Notification::Closed(told) {
                return same("the final tail", &told, &at(2 * APPENDS, 2 * APPENDS));
            }
        }
    };
    let (appended, followed) = tokio::join!(append_all, follow);
    for ended in appended? {
        ended.accepted("the appends and the close")?;
    }
    followed
}

pub(super) async fn no_subscriber_misses_the_end<S: Subject>(f: Fixture<'_, S>) -> Ran {
    f.given().await?;
    let mut followers = Vec::new();
    for _ in 0..8 {
        let mut changes = f.subscribe().await?;
        followers.push(async move {
            follow_to(&mut changes, Notification::Closed(at(100, 100))).await?;
            Ok::<_, Stop>(changes)
        });
    }
    let appenders = (0..4).map(|_| {
        let (storage, stream) = (Arc::clone(&f.storage), f.stream.clone());
        async move {
            for _ in 0..25 {
                storage
                    .append(&stream, block(&["a"]), AppendOptions::default())
                    .await?;
            }
            Ok::<_, Error>(())
        }
    });
    let append_all = async {
        for ended in together("the appenders", appenders).await? {
            ended.accepted("the appends")?;
        }
        f.close().await
    };
    let (followed, appended) = tokio::join!(together("the followers", followers), append_all);
    appended?;
    let followed = followed?.into_iter().collect::<Result<Vec<_>, _>>()?;
    f.delete().await?;
    for mut changes in followed {
        follow_to(&mut changes, Notification::Deleted).await?;
    }
    Ok(())
}

pub(super) async fn subscribing_to_no_stream_is_not_found<S: Subject>(f: Fixture<'_, S>) -> Ran {
    let answer = f.storage.subscribe(&f.stream).await;
    answer.refused(&Refusal::NotFound, "subscribe")
}
