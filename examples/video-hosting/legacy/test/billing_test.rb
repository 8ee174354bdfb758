# frozen_string_literal: true

require_relative "test_helper"

class BillingTest < TestCase
  def test_each_user_pays_for_their_videos
    ada, grace, period = user(company: "Ada Ltd"), user("Grace"), month
    charge(video(ada), 100, period: period)
    charge(video(ada, "Second"), 50, period: period)
    charge(ada.videos.first, 7, period: period, currency: "JPY")
    charge(video(grace), 30, period: period)
    assert_equal [["Ada Ltd", "EUR", 150, 2], ["Ada Ltd", "JPY", 7, 1], ["Grace", "EUR", 30, 1]],
                 BillRun.new(period).lines.map { |line| [line.addressee, line.currency, line.amount_minor, line.charges] }
  end

  def test_the_lines_add_up_to_the_charges
    period = month
    5.times { |number| charge(video(user("User #{number}")), 2**40 + number, period: period) }
    assert_equal Charge.where(period: period).sum(:amount_minor), BillRun.new(period).lines.sum(&:amount_minor)
  end

  def test_closing_is_final
    period = month
    paid = charge(video, 100, period: period)
    assert_equal 1, BillRun.new(period).close!.size
    assert Period.closed?(period)
    assert_raises(Charge::Closed) { charge(paid.video, 1, period: period) }
    assert_equal 100, BillRun.new(period).lines.sum(&:amount_minor)
  end

  def test_a_period_is_there_once
    period = month
    assert_equal period, Period.create_or_find_by!(period: period).id
    assert_equal period, Period.create_or_find_by!(period: period).id
    assert_equal 1, Period.where(period: period).count
    refute Period.new(period: "2026-13").valid?
  end

  def test_a_company_takes_over_a_bill
    ada, period = user, month
    charge(video(ada), 100, period: period)
    ada.update!(company: "Ada Ltd")
    assert_equal ["Ada Ltd"], BillRun.new(period).lines.map(&:addressee)
  end

  def test_old_months_are_purged_in_batches
    first = video
    paid = Array.new(7) { |number| charge(first, number + 1, period: "1999-0#{number + 1}") }
    paid.first.refund!(period: "1999-08")
    assert_equal 8, Purge.charges_before("2000-01", batch: 3)
    assert_equal 0, Charge.where("period < '2000-01'").count
  end
end
