# frozen_string_literal: true

require_relative "test_helper"

# Many rows at once, and statements written by hand.
class BulkTest < TestCase
  def rows(count, video, period)
    Array.new(count) do |number|
      { user_id: video.user_id, video_id: video.id, period: period, currency: "EUR", amount_minor: number, created_at: Time.now.utc }
    end
  end

  def test_a_thousand_rows_in_one_statement
    first, period = video, month
    assert_equal 1000, Import.rows(rows(1000, first, period))
    assert_equal 1000, first.reload.charges_count
    assert_equal 499_500, BillRun.new(period).lines.sum(&:amount_minor)
  end

  def test_upsert_writes_the_new_amount
    paid = charge(video, 1)
    Import.upsert([paid.attributes.merge("amount_minor" => 77)])
    assert_equal 77, paid.reload.amount_minor
    assert_equal 1, paid.video.charges.count
  end

  def test_rows_that_are_there_are_skipped
    paid = charge(video, 5)
    Charge.insert_all([paid.attributes.merge("amount_minor" => 6)])
    assert_equal 5, paid.reload.amount_minor
  end

  def test_copy
    return unless postgres?

    first, period = video, month
    Import.copy(Array.new(100) { |number| [first.user_id, first.id, period, "USD", number] })
    assert_equal [100, 4950], [first.charges.count, first.charges.sum(:amount_minor)]
  end

  def test_statements_by_hand
    ada, period = user, month
    first = video(ada)
    connection = ActiveRecord::Base.connection
    sql = "INSERT INTO charges (user_id, video_id, period, currency, amount_minor) " \
          "SELECT v.user_id, v.id, '#{period}', 'EUR', length(v.title) FROM videos v WHERE v.user_id = #{ada.id}"
    assert_equal 2, connection.update(sql)
    assert_equal 2, connection.update("UPDATE charges SET amount_minor = CASE WHEN video_id = #{first.id} THEN 1 ELSE 2 END WHERE period = '#{period}'")
    assert_equal 3, connection.select_value("SELECT sum(amount_minor) FROM charges WHERE period = '#{period}'").to_i
    assert_equal 1, connection.delete("DELETE FROM charges WHERE period = '#{period}' AND video_id = #{first.id}")
    assert_equal [2], Charge.where(period: period).pluck(:amount_minor)
  end

  def test_the_id_of_an_insert_by_hand
    connection = ActiveRecord::Base.connection
    id = connection.insert("INSERT INTO users (name) VALUES ('By hand')")
    assert_equal "By hand", User.find(id).name
    video = connection.insert("INSERT INTO videos (user_id, title) VALUES (#{id}, 'By hand')")
    assert_equal "By hand", Video.find(video).title
    return if postgres?

    connection.execute("INSERT INTO users (name) VALUES ('By hand 2')")
    assert_equal "By hand 2", User.find(connection.raw_connection.last_insert_row_id).name
  end

  def test_in_batches
    ids = Array.new(12) { |number| user("Batch #{number}").id }
    User.where(id: ids).in_batches(of: 5) { |batch| batch.update_all(company: "Batch") }
    assert_equal 12, User.where(id: ids, company: "Batch").count
    assert_equal ids, User.where(id: ids).find_each(batch_size: 5).map(&:id)
  end

  def test_a_swap_in_one_statement
    ada, grace = user, user("Grace")
    hers, his = video(ada), video(grace)
    Video.where(id: [hers.id, his.id]).update_all(["user_id = CASE user_id WHEN ? THEN ? ELSE ? END", ada.id, grace.id, ada.id])
    assert_equal [grace.id, ada.id], [hers.reload.user_id, his.reload.user_id]
  end
end
