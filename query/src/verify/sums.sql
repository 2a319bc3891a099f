select
    window_start, {dimensions},
    count(*) filter (where verdict = 'click') as clicks,
    coalesce(sum(cast(cost_micros as decimal(38, 0))) filter (where verdict = 'click'), 0) as cost_micros,
    count(*) filter (where verdict = 'duplicate') as duplicates,
    count(*) filter (where verdict = 'late') as late,
    count(*) filter (where verdict = 'filtered') as filtered
from due
group by window_start, {dimensions}
