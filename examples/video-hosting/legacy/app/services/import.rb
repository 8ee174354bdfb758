# frozen_string_literal: true

# Charges that another system counted, many at once.
module Import
  module_function

  # One statement; returns how many there are.
  def rows(rows)
    Charge.insert_all!(rows)
    rows.map { |row| row[:video_id] }.uniq.each { |video| Video.reset_counters(video, :charges) }
    rows.size
  end

  # What is there already gets the new amount.
  def upsert(rows)
    Charge.upsert_all(rows, unique_by: :id)
  end

  # PostgreSQL's COPY: user, video, period, currency, amount, tab between them.
  def copy(rows)
    connection = Charge.connection.raw_connection
    connection.copy_data("COPY charges (user_id, video_id, period, currency, amount_minor) FROM STDIN") do
      rows.each { |row| connection.put_copy_data("#{row.join("\t")}\n") }
    end
  end
end
