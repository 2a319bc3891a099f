-- What clicks_minute must say of one partition, recounted from its raw clicks. Plain SQL, on purpose: it shares no line
-- with the code that counts live. In braces stand what the table records, where it stands, and which windows are asked
-- for. Sums are of 38 digits, so that none wraps around.
with
    -- The events below the table's cut, each with the watermark that it met: the largest event time so far, less the
    -- bound on disorder.
    events as (
        select
            kafka_offset, event_time, click_id, {dimensions},
            -- What is no cost counts as null: before costs had a bound, any number was taken in.
            case when cost_micros between 0 and {cost_micros_max} then cost_micros end as cost_micros,
            date_trunc('minute', event_time) as window_start,
            date_trunc('minute', event_time) + interval '1 minute' as window_end,
            coalesce(event_type, 'click') as event_type,
            coalesce(event_type, 'click') <> 'click' as is_other,
            max(event_time) over (order by kafka_offset rows between unbounded preceding and current row)
                - interval '{out_of_orderness_ms} milliseconds' as watermark
        from clicks
        where topic = '{topic}' and kafka_partition = {partition}
            and kafka_offset >= {first} and kafka_offset < {cut}
    ),
    -- Filtered, late, or a click, in this order.
    taken as (
        select *,
            case
                when is_other then 'filtered'
                when window_end + interval '{allowed_lateness_ms} milliseconds' <= watermark then 'late'
                else 'click'
            end as taken_for
        from events
    ),
    -- Of the clicks of one id the first counts. What has no id is nobody's copy.
    judged as (
        select *,
            case
                when taken_for = 'click' and click_id is not null
                    and row_number() over (partition by taken_for, click_id order by kafka_offset) > 1
                then 'duplicate'
                else taken_for
            end as verdict
        from taken
    ),
    -- Those that must be in the table by now: they are asked for, and their window is closed, or everything was written.
    due as (
        select * from judged
        where (window_end <= {emitted} or kafka_offset < {drained})
            and kafka_offset >= {since} and window_start >= {from} and window_start < {to}
    )
