//! What is done beside requests, and logs.

use super::Key;
use crate::settings::value;

keys! {
    text "backup.dir" => backup_dir as option:
        "Folder of the repository to which backups go, best on another disk. Without it a request must name one.";
    list "backup.roots" => backup_roots:
        "Folders below which a request may name another repository.";
    text "backup.schedule" => backup_schedule as option:
        "When the node is backed up to `backup.dir` by itself: a cron expression such as `0 3 * * *`, in UTC. A time that comes while the node is down is made up for at its start.";
    flag "backup.prune" => backup_prune:
        "Whether each such backup is followed by pruning by `backup.keep_…`.";
    count "backup.keep_last" => app.upkeep.keep.last:
        "Newest snapshots of each scope that pruning keeps.";
    count "backup.keep_daily" => app.upkeep.keep.daily:
        "Days of which pruning keeps the newest snapshot.";
    count "backup.keep_weekly" => app.upkeep.keep.weekly:
        "Weeks of which pruning keeps the newest snapshot.";
    count "backup.keep_monthly" => app.upkeep.keep.monthly:
        "Months of which pruning keeps the newest snapshot.";
    time "export.keep" => app.upkeep.export_kept:
        "How long an export waits on the node to be fetched.";
    time "import.keep" => app.upkeep.import_kept:
        "How long an archive may take to arrive whole.";
    size "import.size" => app.upkeep.import_bytes:
        "An archive that is imported.";
    time "erase.tombstone" => app.upkeep.tombstone:
        "How long a tenant that was erased answers no more but can be brought back.";
    time "schedules.interval" => app.schedules.interval:
        "Shortest time between two scheduled calls of one schedule. A package that asks for more is refused.";
    count "schedules.concurrent" => app.schedules.concurrency:
        "Scheduled calls of the node under way at once; further ones wait.";
    count "schedules.tenant_concurrent" => app.schedules.tenant_concurrency:
        "Scheduled calls of one tenant under way at once; further ones wait.";
    count "schedules.attempts" => app.schedules.attempts:
        "How often a scheduled call is tried that fails.";
    time "schedules.retry_after" => app.schedules.retry_after:
        "After what time it is tried again; twice as long each further time.";
    time "schedules.retry_after_most" => app.schedules.retry_after_most:
        "After what time at most.";
    count "schedules.keep" => app.schedules.kept:
        "Calls of one schedule that have ended and are still listed.";
    size "messages.size" => runtime.messages.queue.message_bytes:
        "Body of one message between applications. It is a value of the key-value storage, so `storage.value` must have room for it.";
    count "messages.waiting" => runtime.messages.queue.waiting:
        "Messages that wait for one installation.";
    count "messages.dead" => runtime.messages.queue.dead:
        "Messages to one installation that were given up and are kept.";
    time "messages.delay" => runtime.messages.delay_most:
        "For how long a message may be held back.";
    count "messages.attempts" => runtime.messages.attempts:
        "How often a message is delivered that is not taken.";
    time "messages.retry_after" => runtime.messages.retry_after:
        "After what time it is delivered again; twice as long each further time.";
    time "messages.retry_after_most" => runtime.messages.retry_after_most:
        "After what time at most.";
    count "messages.concurrent" => runtime.messages.concurrency:
        "Deliveries of the node under way at once; further ones wait.";
    count "messages.tenant_concurrent" => runtime.messages.tenant_concurrency:
        "Deliveries of one tenant under way at once; further ones wait.";
    time "jobs.keep" => app.upkeep.jobs_kept:
        "How long jobs that have ended are listed.";

    size "logs.message" => logs.message_bytes:
        "One message of an application's log; the rest is cut off.";
    size "logs.file" => logs.file_bytes:
        "A log file; when it is full the next begins.";
    count "logs.files" => logs.files:
        "Files of one log that are kept.";
    size "logs.queue" => logs.queue_bytes:
        "Records of one log that wait to be written; what comes on top is dropped and counted.";
    size "logs.node_queue" => logs.node_queue_bytes:
        "The same for all logs of the node together.";
    size "logs.bytes_per_second" => logs.bytes_per_second:
        "What one log takes a second in the long run; what comes on top is dropped and counted.";
    size "logs.burst" => logs.burst_bytes:
        "What one log takes at once after a quiet time.";
    count "logs.page_records" => logs.page_records:
        "Records of one page of a log.";
    count "logs.open_files" => logs.open_files:
        "Log files open for writing at once.";
}
