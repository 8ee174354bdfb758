# frozen_string_literal: true

require_relative "test_helper"

class JobTest < TestCase
  committing

  def setup
    super
    Job.delete_all
  end

  def test_views_become_charges
    videos, period = Array.new(3) { |number| video(user("User #{number}")) }, month
    12.times { |number| Job.push(:charge_views, video_id: videos[number % 3].id, period: period, views: number) }
    Workers.new(3).drain
    assert_equal 0, Job.count
    assert_equal [4, 4, 4], videos.map { |each| each.reload.charges_count }
    assert_equal 66 * 3, Charge.where(period: period).sum(:amount_minor)
  end

  def test_a_job_that_fails_leaves_nothing_and_is_tried_again
    first, period = video, month
    Period.close!(period)
    Job.push(:charge_views, video_id: first.id, period: period, views: 1)
    Workers.new(1).drain
    job = Job.first
    assert_equal [3, "failed"], [job.attempts, job.taken_by]
    assert_match(/closed/, job.error)
    assert_equal 0, first.charges.count
  end

  def test_a_company_is_renamed
    name = "Renamed #{rand(2**60)}"
    ids = Array.new(25) { |number| user("User #{number}", company: name).id }
    Job.push(:rename_company, from: name, to: "#{name} AG")
    Workers.new(2).drain
    assert_equal 25, User.where(id: ids, company: "#{name} AG").count
  end

  def test_accounts_are_closed
    gone = Array.new(4) { |number| user("Leaver #{number}") }
    gone.each { |each| charge(video(each), 10) }
    gone.each { |each| Job.push(:close_account, user_id: each.id) }
    Workers.new(2).drain
    assert_equal 0, Job.count
    assert_empty User.where(id: gone.map(&:id))
  end
end
