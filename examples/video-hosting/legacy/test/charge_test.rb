# frozen_string_literal: true

require_relative "test_helper"

class ChargeTest < TestCase
  def test_a_charge_is_the_uploaders
    first = video
    assert_equal first.user_id, charge(first, 100).reload.user_id
  end

  def test_amounts_of_all_sizes
    first = video
    amounts = [0, 1, -1, 2**53 + 1, -(2**61), 2**61]
    assert_equal amounts, amounts.map { |amount| charge(first, amount).reload.amount_minor }
  end

  def test_currency_and_amount_are_validated
    first = video
    refute first.charges.build(period: month, currency: "euro", amount_minor: 1).valid?
    refute first.charges.build(period: month, currency: "EUR", amount_minor: 1.5).valid?
    assert_raises(ActiveRecord::RecordInvalid) { charge(first, nil) }
  end

  def test_a_refund_reverses
    paid = charge(video, 1000)
    refund = paid.refund!(period: month)
    assert_equal [-1000, paid.id, paid.user_id], [refund.reload.amount_minor, refund.reverses_id, refund.user_id]
    assert_raises(Charge::AlreadyRefunded) { paid.refund!(period: @month) }
    assert_equal 0, Charge.where(video_id: paid.video_id).sum(:amount_minor)
  end

  def test_refunds_in_parts
    paid = charge(video, 1000)
    [334, 333, 333].each { |part| paid.refund!(period: @month, amount_minor: part) }
    assert_raises(Charge::AlreadyRefunded) { paid.refund!(period: @month, amount_minor: 1) }
    assert_equal [-334, -333, -333], paid.reversals.order(:id).pluck(:amount_minor)
  end

  def test_a_refund_after_the_month_is_closed
    paid = charge(video, 700)
    Period.close!(paid.period)
    refund = paid.refund!(period: month)
    assert_equal(-700, refund.reload.amount_minor)
    assert_raises(Charge::Closed) { paid.update!(amount_minor: 1) }
    assert_raises(Charge::Closed) { paid.reload.destroy }
    assert_equal 700, paid.reload.amount_minor
  end

  def test_destroying_takes_refunds_along
    paid = charge(video, 1000)
    refund = paid.refund!(period: @month)
    assert_equal 2, paid.video.reload.charges_count
    paid.destroy!
    refute Charge.exists?(refund.id)
    assert_equal 0, paid.video.reload.charges_count
  end

  def test_a_correction
    paid = charge(video, 1000)
    paid.update!(amount_minor: 999)
    paid.increment!(:amount_minor, 2)
    assert_equal 1, Charge.where(id: paid.id).update_all("amount_minor = amount_minor * 3")
    assert_equal 3003, paid.reload.amount_minor
    Charge.update_counters(paid.id, amount_minor: -3)
    assert_equal 3000, paid.reload.amount_minor
  end

  def test_moving_a_charge_to_another_video
    ada = user
    first, second = video(ada), video(ada, "Second")
    paid = charge(first, 50)
    paid.update!(video: second)
    assert_equal [0, 1], [first.reload.charges_count, second.reload.charges_count]
  end

  def test_deleting_by_a_subquery_tells_how_many
    first = video
    4.times { |number| charge(first, number) }
    assert_equal 3, Charge.where(video: Video.where(id: first.id)).where("amount_minor > 0").delete_all
    assert_equal [0], first.charges.pluck(:amount_minor)
    assert_equal 1, first.charges.destroy_all.size
  end
end
