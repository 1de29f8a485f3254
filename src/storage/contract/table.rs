//! The table of cases: area, name and rule of each. The one list that everything else is made from.
//!
//! An area is a module beside this one, a name a function in it. `__contract_cases!([callback] (arguments))` calls
//! `callback!` with the arguments and the whole table.

#[doc(hidden)]
#[macro_export]
macro_rules! __contract_cases {
    ([$($callback:tt)+] $arguments:tt) => {
        $($callback)+! {
            $arguments
            create {
                a_new_stream_is_open_and_empty:
                    "a stream just created is open and empty, and starts at zero",
                creating_again_with_the_same_options_confirms:
                    "create answers `existed` and the tail if the configuration is the same",
                creating_again_with_other_options_is_refused:
                    "create is refused as AlreadyExists if any option differs, and changes nothing",
                the_media_type_is_compared_without_regard_to_case:
                    "content types that differ only in the letter case of the media type are the same",
                a_closed_stream_exists:
                    "create confirms a closed stream with the same configuration, and does not open it",
                invalid_options_are_refused:
                    "options out of their range are refused as InvalidOption, and nothing is created",
                streams_do_not_touch_each_other:
                    "what happens to one stream is not seen on another",
            }
            append {
                an_append_answers_the_new_tail:
                    "an append answers the tail after it, in records and in payload bytes",
                a_confirmed_append_is_visible_at_once:
                    "once an append is confirmed, every operation sees it",
                payloads_come_back_as_they_were:
                    "payloads of any bytes and size, also empty ones, are read as they were appended",
                appending_to_no_stream_is_not_found:
                    "operations on a stream that was never created are refused as NotFound",
                an_empty_batch_is_refused:
                    "a batch without records is refused as EmptyBatch, unless it closes",
                seq_must_grow_byte_by_byte:
                    "each seq must be byte-wise greater than the last accepted one, else SeqConflict tells that one",
                an_append_without_seq_leaves_the_last_seq:
                    "an append without seq is accepted and leaves the last accepted seq as it is",
                the_tail_must_be_the_expected_one:
                    "an append that expects another tail is refused as TailMismatch with the tail",
                a_refused_append_changes_nothing:
                    "a refused append leaves records, tail, times, seq and the open stream as they are",
                the_checks_come_in_their_order:
                    "the refusal told is the first in the order of the documentation",
            }
            producers {
                a_duplicate_is_confirmed_and_stored_once:
                    "the same producer, epoch and seq again is confirmed as a duplicate and not stored",
                every_accepted_seq_is_a_duplicate:
                    "any earlier seq of the epoch is a duplicate, answered with the tail as it stands",
                a_gap_is_refused_with_the_expected_seq:
                    "a seq that skips one is refused as ProducerGap with the expected one",
                an_unknown_producer_begins_at_zero:
                    "a producer's first seq is zero, in whatever epoch",
                a_lower_epoch_is_fenced:
                    "a lower epoch is refused as ProducerFenced with the current epoch",
                a_new_epoch_begins_at_zero:
                    "a higher epoch takes over at seq zero and is else refused as ProducerEpochStart",
                producers_do_not_touch_each_other:
                    "each producer has an epoch and a seq of its own",
                a_duplicate_passes_all_later_checks:
                    "a duplicate is confirmed even if its seq or expected tail would be refused by now",
                a_duplicate_is_confirmed_on_a_closed_stream:
                    "a duplicate is confirmed on a closed stream, a new append is not",
                a_retried_append_and_close_is_a_duplicate:
                    "append-and-close may be retried like any append",
                a_refused_append_does_not_advance_its_producer:
                    "a refused append may be sent again with the same producer seq",
                racing_retries_are_stored_once:
                    "of the same append sent several times at once, one is stored",
            }
            close {
                closing_answers_the_final_tail_every_time:
                    "close is idempotent and answers the final tail each time",
                a_closed_stream_takes_no_append:
                    "a closed stream refuses every append as StreamClosed with its final tail, for ever",
                a_closed_stream_is_read_to_its_end:
                    "a closed stream is read as before, and its end is told",
                append_and_close_is_one_step:
                    "append-and-close stores the batch and closes in one step",
                an_empty_batch_may_close:
                    "an empty batch that closes is a close",
                a_refused_append_and_close_does_not_close:
                    "append-and-close does both or neither",
            }
            delete {
                a_deleted_stream_is_not_found:
                    "after a delete, every operation is refused as NotFound",
                a_closed_stream_may_be_deleted:
                    "a closed stream can be deleted",
                a_stream_created_again_starts_at_zero:
                    "a stream deleted and created again is new: empty, open, from offset zero",
                nothing_of_the_old_stream_is_remembered:
                    "a stream created again knows no seq, no producer and no epoch of the old one",
                a_stream_created_again_may_have_other_options:
                    "a deleted name can be created with any configuration",
            }
            metadata {
                metadata_of_a_new_stream:
                    "metadata of a new stream tells its options, its creation time, and that nothing is there",
                metadata_tells_the_options_as_given:
                    "metadata tells content type, ttl or expiry, and retention as they were given",
                metadata_follows_what_is_appended:
                    "metadata tells counts, bytes, tail, last append, last seq and the close",
            }
            read {
                a_read_from_the_beginning_gives_everything:
                    "a read from -1 gives every record in order",
                a_read_from_now_gives_nothing:
                    "a read from now gives nothing, and the tail to read on from",
                a_read_from_an_offset_begins_there:
                    "a read from an offset begins at that record, also inside a batch",
                a_read_from_a_time_begins_there:
                    "a read from a time begins at the first record committed then or later",
                records_come_with_position_and_time:
                    "each record comes with its record and byte position and its commit time",
                a_joined_read_is_the_bytes_back_to_back:
                    "read joins the payloads and answers where to read on",
                a_read_at_the_tail_is_empty:
                    "a read at the tail is empty and stays there",
                a_read_of_an_empty_stream_is_empty:
                    "a read of an empty stream is empty, wherever it begins",
                a_read_past_the_tail_is_refused:
                    "a read past the tail is refused as PastTail with the tail",
                a_read_keeps_to_its_limit_of_records:
                    "a read gives at most max_records and tells by has_more if there is more",
                a_read_keeps_to_its_limit_of_bytes:
                    "a read gives about max_bytes at most",
                a_read_gives_at_least_one_record:
                    "a read gives one record if there is one, however small max_bytes is",
                only_the_final_tail_reads_as_closed:
                    "closed is told only by a read that reaches the final tail",
            }
            live {
                a_waiting_read_wakes_with_data:
                    "a read that waits at the tail answers the records appended then",
                a_waiting_read_from_now_wakes_with_data:
                    "a read that waits from now answers the records appended then",
                a_waiting_read_from_a_time_wakes_with_data:
                    "a read that waits for a time to come answers the records appended then",
                a_waiting_joined_read_wakes_with_data:
                    "a joined read waits as well",
                a_waiting_read_wakes_with_close:
                    "a waiting read ends when the stream is closed, and tells so",
                a_waiting_read_sees_append_and_close_as_one:
                    "a waiting read sees the last batch and the close together",
                a_waiting_read_of_a_deleted_stream_is_not_found:
                    "a waiting read ends with NotFound when the stream is deleted",
                a_waiting_read_ends_empty_after_its_time:
                    "a waiting read ends empty after its time",
                a_read_does_not_wait_for_what_is_there:
                    "a read that may wait answers at once if there is data",
                a_read_does_not_wait_at_the_end_of_a_closed_stream:
                    "a read at the final tail of a closed stream does not wait",
                a_read_that_is_refused_does_not_wait:
                    "a refused read does not wait",
                every_waiting_read_is_woken:
                    "one append wakes every waiting read",
            }
            json {
                an_array_is_flattened_one_level:
                    "each element of an appended JSON array is a record; arrays inside stay",
                any_other_value_is_one_record:
                    "a JSON value that is no array is one record",
                each_record_of_a_batch_is_flattened:
                    "every record of a batch is flattened by itself",
                a_json_stream_reads_as_an_array:
                    "read of a JSON stream is a JSON array of the records, also of none",
                every_page_of_a_json_stream_is_an_array:
                    "each page of a JSON stream is an array by itself",
                invalid_json_is_refused_whole:
                    "one record that is not JSON refuses the whole batch as InvalidJson with its index",
                an_empty_array_is_refused:
                    "an empty array is refused as EmptyBatch",
                json_mode_looks_at_the_media_type_alone:
                    "JSON mode ignores letter case and parameters of the content type",
                other_content_types_take_any_bytes:
                    "any other content type takes bytes as they are",
            }
            expiry {
                a_stream_expires_after_its_ttl:
                    "a stream is absent for every operation once its ttl has passed",
                a_stream_stays_until_its_ttl_has_passed:
                    "a stream is there as long as its ttl has not passed",
                a_stream_without_expiry_stays:
                    "a stream without ttl or expiry stays",
                a_write_puts_the_ttl_off:
                    "a write restarts the ttl",
                a_read_puts_the_ttl_off:
                    "a read restarts the ttl, also one that finds nothing new",
                a_close_puts_the_ttl_off:
                    "a close is a write: it restarts the ttl",
                asking_does_not_put_the_ttl_off:
                    "get_metadata and current_offset are no reads: they leave the ttl as it is",
                an_absolute_expiry_is_not_put_off:
                    "an absolute expiry comes whatever is read or written",
                an_expired_stream_is_created_anew:
                    "an expired stream can be created with other options and starts at zero",
                an_expired_stream_may_be_created_with_the_same_options:
                    "an expired stream created again with the same options is new",
                a_subscriber_hears_of_the_expiry:
                    "a subscriber of a stream that expires is told Deleted, not before",
                a_waiting_read_ends_with_the_stream:
                    "a waiting read ends with NotFound when the stream expires",
            }
            retention {
                max_records_keeps_the_newest:
                    "max_records keeps that many of the newest records",
                max_bytes_keeps_the_newest:
                    "max_bytes keeps the newest records of at most that many payload bytes",
                max_bytes_always_keeps_the_newest_record:
                    "max_bytes keeps the newest record even if it is larger",
                max_age_trims_what_is_older:
                    "max_age trims records as they grow old, down to none",
                the_limit_passed_first_trims:
                    "of several limits the one passed first trims",
                a_trim_renumbers_nothing:
                    "records keep their positions when others are trimmed",
                a_closed_stream_is_trimmed_too:
                    "retention goes on after the close",
                a_stream_without_retention_keeps_everything:
                    "without retention nothing is trimmed",
                a_trim_is_no_change_to_a_subscriber:
                    "a trim is not notified",
            }
            notifications {
                a_subscriber_is_told_of_an_append:
                    "each append is notified with the tail after it",
                a_waiting_subscriber_is_woken:
                    "a subscriber that waits is woken",
                a_subscriber_is_told_nothing_of_before:
                    "what was before the subscription is not notified",
                a_slow_subscriber_is_told_the_newest:
                    "changes are coalesced to the newest state",
                a_subscriber_is_told_of_the_close:
                    "a close is notified once, with the final tail",
                a_subscriber_is_told_of_append_and_close:
                    "append-and-close ends in the notification of the close",
                a_subscriber_is_told_of_the_delete:
                    "a delete is notified, on open and on closed streams",
                deleted_is_told_again_and_again:
                    "Deleted is the last notification, told for ever, also if the name is used again",
                every_subscriber_is_told:
                    "every subscriber is told, whoever else comes or goes",
                a_cancelled_wait_loses_nothing:
                    "a wait for a change that is dropped loses no change",
                a_stream_created_again_has_its_own_subscribers:
                    "subscribers of a stream created again are told of the new one only",
                what_is_told_can_be_read:
                    "what was notified can be read",
                no_subscriber_misses_the_end:
                    "under concurrent appends no subscriber misses the last tail, the close or the delete",
                subscribing_to_no_stream_is_not_found:
                    "subscribe to no stream is refused as NotFound",
            }
            concurrency {
                concurrent_batches_stay_whole_and_none_is_lost:
                    "concurrent appends have one order: each batch in one piece where its tail says",
                appends_racing_a_close_are_stored_or_refused:
                    "an append that races a close is stored before the final tail or refused",
                concurrent_readers_see_prefixes_only:
                    "readers see prefixes of the one order, cut between batches",
                one_of_racing_conditional_appends_wins:
                    "of appends expecting the same tail one is accepted",
                one_of_racing_creates_creates:
                    "of creates at once one creates and the others find it there",
                many_streams_are_used_at_once:
                    "many streams are written and read at once",
                an_abandoned_append_is_whole_or_absent:
                    "an append whose caller goes away is stored whole or not at all",
            }
            durability {
                confirmed_records_survive_a_restart:
                    "what was confirmed is there after a restart, to the last detail",
                the_rules_go_on_after_a_restart:
                    "seq and producers are remembered over a restart",
                a_close_survives_a_restart:
                    "a closed stream is closed after a restart",
                a_delete_survives_a_restart:
                    "a deleted stream stays away after a restart, and a new one of its name stays new",
                a_trim_survives_a_restart:
                    "what was trimmed does not come back after a restart",
                an_expiry_goes_on_over_a_restart:
                    "a ttl runs on over a restart from the last read or write before it, give or take an eighth",
            }
        }
    };
}
